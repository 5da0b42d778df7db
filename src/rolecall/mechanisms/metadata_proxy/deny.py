"""No dialect at all: nobody gets a role at this door, least of all the node's.

With it in front of the metadata service, what IRSA and Pod Identity give a pod is all that it has.
"""

from __future__ import annotations

from collections.abc import Collection

from rolecall.core.exchange import Reply
from rolecall.core.grant import Decision, Refusal
from rolecall.core.source import Issued
from rolecall.errors import RolecallError
from rolecall.mechanisms.imds import wire as imds
from rolecall.mechanisms.imds.documents import PRESETS
from rolecall.mechanisms.imds.door import Asked, render_directory
from rolecall.mechanisms.metadata_proxy.decide import Facts

_NOBODY = Refusal(
    "denied",
    "the metadata service gives no credentials on this node",
    "give the pod's service account a role: by Pod Identity, or by IRSA",
)


class DenyDialect:
    """An instance without a role, as EC2 has them: the listing is 404."""

    name = "deny"

    def __init__(self, allowed: Collection[str] = PRESETS["placement"]) -> None:
        self.allowed = allowed

    def local(self, asked: Asked) -> Reply | None:
        """Return the page of everything but a document and a directory of some."""
        if asked.what == "directory":
            return render_directory(asked, self.allowed)
        return None if asked.what == "document" else imds.error(404, "denied")

    def listing(self, facts: Facts) -> str | Refusal:
        """Refuse."""
        return _NOBODY

    def decide(self, asked: Asked, facts: Facts) -> Decision:
        """Refuse."""
        return _NOBODY

    def render_listing(self, name: str) -> Reply:
        """Return 404: there is no list to render."""
        return imds.error(404, "denied")

    def render(self, asked: Asked, issued: Issued, now: float) -> Reply:
        """Return 404: nothing is issued here."""
        return imds.error(404, "denied")

    def render_refusal(self, asked: Asked, address: str, refusal: Refusal) -> Reply:
        """Return EC2's page of an instance without a role."""
        return imds.error(404, refusal.reason)

    def render_error(self, asked: Asked, error: RolecallError) -> Reply:
        """Return EC2's page of a service that is ill."""
        return imds.error(500, error.word)

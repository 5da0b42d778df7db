"""kube2iam 0.15 at the door (legacy-proxies.md §5.3)."""

from __future__ import annotations

from collections.abc import Collection

from rolecall.core.exchange import Reply
from rolecall.core.grant import Decision, Refusal
from rolecall.core.source import Issued
from rolecall.errors import RolecallError
from rolecall.mechanisms.imds import wire as imds
from rolecall.mechanisms.imds.documents import PRESETS
from rolecall.mechanisms.imds.door import Asked, render_directory
from rolecall.mechanisms.metadata_proxy import wire
from rolecall.mechanisms.metadata_proxy.decide import Facts, decide_kube2iam, name_kube2iam
from rolecall.mechanisms.metadata_proxy.failure import said_by_aws
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam

_ORDER = ("AccessKeyId", "Code", "Expiration", "LastUpdated", "SecretAccessKey", "Token", "Type")
_SNIFFED = (("content-type", "text/plain; charset=utf-8"), imds.EC2)


class Kube2iamDialect:
    """Lists at once, with and without the slash; its errors are text with the status that clients know."""

    name = "kube2iam"

    def __init__(self, rules: Kube2iam, allowed: Collection[str] = PRESETS["legacy-read"]) -> None:
        self._rules, self.allowed = rules, allowed

    def local(self, asked: Asked) -> Reply | None:
        """Return the page of a path that is not there; kube2iam passed every path on to the node's service."""
        if asked.what == "directory":
            return render_directory(asked, self.allowed)
        return imds.error(404, "not-found") if asked.what in ("other", "info") else None

    def listing(self, facts: Facts) -> str | Refusal:
        """Return the name below the base, or the whole ARN."""
        return name_kube2iam(self._rules, facts)

    def decide(self, asked: Asked, facts: Facts) -> Decision:
        """Return the grant of the annotated role, or the default."""
        return decide_kube2iam(self._rules, asked, facts)

    def render_listing(self, name: str) -> Reply:
        """Return the name; an empty one for a pod without a role, which kube2iam's own tests pin."""
        return wire.text(200, name, (imds.EC2,))

    def render(self, asked: Asked, issued: Issued, now: float) -> Reply:
        """Return the credentials: members in the order of their names."""
        return wire.credentials(issued, _ORDER, now, _SNIFFED)

    def render_refusal(self, asked: Asked, address: str, refusal: Refusal) -> Reply:
        """Return 403 for a role that is not the pod's, else 404. The misspelling is kube2iam's."""
        if refusal.reason == "shared-address":
            names = " ".join(refusal.because)
            sentence = f"{len(refusal.because)} pods ([{names}]) with the ip {address} indexed"
        elif refusal.reason in ("no-pod", "host-network"):
            sentence = f'pod with specificed IP "{address}" not found'
        else:
            sentence = refusal.sentence
        status = 403 if refusal.reason in ("other-role", "bad-role", "bad-external-id") else 404
        return wire.error(status, sentence, refusal.reason)

    def render_error(self, asked: Asked, error: RolecallError) -> Reply:
        """Return 500 with what AWS said."""
        return wire.error(500, said_by_aws(error), error.word)

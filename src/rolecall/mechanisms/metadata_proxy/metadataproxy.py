"""lyft's metadataproxy 2.2 at the door (legacy-proxies.md §3.4)."""

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
from rolecall.mechanisms.metadata_proxy.decide import Facts, decide_container, name_container
from rolecall.mechanisms.metadata_proxy.failure import said_by_aws
from rolecall.mechanisms.metadata_proxy.settings import Metadataproxy

_ORDER = ("AccessKeyId", "Code", "Expiration", "LastUpdated", "SecretAccessKey", "Token", "Type")
_JSON = (("content-type", "application/json"),)
_HTML = (("content-type", "text/html; charset=utf-8"),)
_SINCE = "2012-01-12"  # versions before have no roles


class MetadataproxyDialect:
    """Every refusal is 404 without a word; ``iam/info`` tells of the container's session."""

    name = "metadataproxy"

    def __init__(self, rules: Metadataproxy, allowed: Collection[str] = PRESETS["legacy-read"]) -> None:
        self._rules, self.allowed = rules, allowed

    def local(self, asked: Asked) -> Reply | None:
        """Return the redirect to the listing, or the page of a path that is not there."""
        if asked.what == "directory":
            return render_directory(asked, self.allowed)
        if asked.what == "other" or asked.version < _SINCE:
            return imds.error(404, "not-found")
        return wire.redirect(301, asked.path) if asked.what == "listing" and not asked.slash else None

    def listing(self, facts: Facts) -> str | Refusal:
        """Return the role's name, with its path and without its account."""
        return name_container(self._rules, facts)

    def decide(self, asked: Asked, facts: Facts) -> Decision:
        """Return the grant of the container's role."""
        return decide_container(self._rules, asked, facts)

    def render_listing(self, name: str) -> Reply:
        """Return the name."""
        return Reply(200, name.encode("utf-8", "replace"), _HTML)

    def render(self, asked: Asked, issued: Issued, now: float) -> Reply:
        """Return the credentials, updated an hour before their end as metadataproxy has it, or ``iam/info``."""
        if asked.what == "info":
            return wire.info(issued, _JSON)
        updated = issued.credentials.expires_at - wire.METADATAPROXY_LASTS
        return wire.credentials(issued, _ORDER, updated, _JSON)

    def render_refusal(self, asked: Asked, address: str, refusal: Refusal) -> Reply:
        """Return 404, empty."""
        return wire.nothing(404, refusal.reason)

    def render_error(self, asked: Asked, error: RolecallError) -> Reply:
        """Return 500 with what AWS said."""
        return wire.error(500, said_by_aws(error), error.word)

"""kiam 4.2's agent at the door (legacy-proxies.md §4.4)."""

from __future__ import annotations

from collections.abc import Collection

from rolecall.core.exchange import Reply
from rolecall.core.grant import Decision, Refusal
from rolecall.core.source import Issued
from rolecall.errors import RolecallError
from rolecall.mechanisms.imds.documents import DOCUMENTS, upstream_path
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy import wire
from rolecall.mechanisms.metadata_proxy.decide import Facts, decide_kiam, name_kiam
from rolecall.mechanisms.metadata_proxy.failure import said_by_aws
from rolecall.mechanisms.metadata_proxy.regexp import compiled
from rolecall.mechanisms.metadata_proxy.settings import Kiam

_ORDER = ("Code", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration", "LastUpdated")
_JSON = (("content-type", "application/json"),)
_FETCHING = "error fetching credentials: "
_FAILED_CALL = "rpc error: code = Unknown desc = "


class KiamDialect:
    """Every refusal of a role is one sentence and 500; everything but roles is blocked unless allowed."""

    name = "kiam"

    def __init__(self, rules: Kiam) -> None:
        """Raises `BadInput` for an expression of allowed routes that cannot be read."""
        self._rules = rules
        route = compiled(rules.allow_route)
        self.allowed: Collection[str] = frozenset(name for name in DOCUMENTS if route.search(upstream_path(name)))

    def local(self, asked: Asked) -> Reply | None:
        """Return kiam's pong, its redirect to the listing, or that the path is blocked."""
        if asked.path == "/ping":
            return wire.text(200, "pong")
        if asked.what == "listing" and not asked.slash:
            return wire.redirect(301, asked.path)
        if asked.what in ("listing", "credentials", "document"):
            return None
        sentence = f'request blocked by allow-route-regexp "{self._rules.allow_route}": {asked.path}'
        return wire.error(404, sentence, "blocked")

    def listing(self, facts: Facts) -> str | Refusal:
        """Return the annotation; the namespace is asked for credentials only."""
        return name_kiam(self._rules, facts)

    def decide(self, asked: Asked, facts: Facts) -> Decision:
        """Return the grant of the annotated role that the namespace permits."""
        return decide_kiam(self._rules, asked, facts)

    def render_listing(self, name: str) -> Reply:
        """Return the name."""
        return wire.text(200, name)

    def render(self, asked: Asked, issued: Issued, now: float) -> Reply:
        """Return the credentials, as the JSON that kiam meant to call them."""
        return wire.credentials(issued, _ORDER, now, _JSON)

    def render_refusal(self, asked: Asked, address: str, refusal: Refusal) -> Reply:
        """Return 404 for a pod without a role that asks for its name, else 500; the reason is in the log."""
        listing = asked.what == "listing"
        if refusal.reason == "shared-address":
            sentence = f"{_FAILED_CALL}multiple running pods found"
        elif refusal.reason in ("no-pod", "host-network"):
            sentence = f"{_FAILED_CALL}pod not found" if listing else "no pod found"
        elif listing:
            return wire.error(404, refusal.sentence, refusal.reason)
        else:
            sentence = "forbidden by policy"
        return wire.error(500, sentence if listing else _FETCHING + sentence, refusal.reason)

    def render_error(self, asked: Asked, error: RolecallError) -> Reply:
        """Return 500 with what AWS said."""
        return wire.error(500, f"{_FETCHING}{_FAILED_CALL}{said_by_aws(error)}", error.word)

"""One shape for the manners of all the older proxies: what a dialect is asked, and answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from rolecall.core.exchange import Reply
from rolecall.core.grant import Decision, Refusal
from rolecall.core.source import Issued
from rolecall.errors import RolecallError
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy.decide import Facts


class Dialect(Protocol):
    """The bytes and the rules of one proxy. Everything is pure; what is asked of the world is handed in."""

    name: str
    allowed: Collection[str]
    """The documents of the node's own service that a pod may read."""

    def local(self, asked: Asked) -> Reply | None:
        """Return the reply to what no role and no document is needed for: a redirect, a refused path; else None."""
        ...

    def listing(self, facts: Facts) -> str | Refusal:
        """Return the name of the caller's role as the listing has it, or why there is none. It grants nothing."""
        ...

    def decide(self, asked: Asked, facts: Facts) -> Decision:
        """Return which role session the caller gets for credentials or ``iam/info``, or why none."""
        ...

    def render_listing(self, name: str) -> Reply:
        """Return the listing."""
        ...

    def render(self, asked: Asked, issued: Issued, now: float) -> Reply:
        """Return the credentials document, or ``iam/info``."""
        ...

    def render_refusal(self, asked: Asked, address: str, refusal: Refusal) -> Reply:
        """Return what the proxy says to a caller that it does not know, or does not give the role."""
        ...

    def render_error(self, asked: Asked, error: RolecallError) -> Reply:
        """Return what the proxy says where AWS did not give the role."""
        ...

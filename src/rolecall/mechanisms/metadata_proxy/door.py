"""The intercepted door: bytes in, what is asked for out, in whichever dialect.

What EC2's own service would say to anybody, the protocol says (`rolecall.mechanisms.imds.door`); what is left is the
dialect's. A document comes back as a name of the allow-list, and whoever fetches it writes the path.
"""

from __future__ import annotations

from rolecall.core.exchange import Reply, Request
from rolecall.mechanisms.imds import door
from rolecall.mechanisms.imds.door import Asked, Gate, let_in_until
from rolecall.mechanisms.metadata_proxy.dialect import Dialect

__all__ = ["let_in_until", "parse"]


def parse(request: Request, gate: Gate, dialect: Dialect, *, now: float) -> Asked | Reply:
    """Return a listing, credentials, ``iam/info`` or a document that is asked for, or the reply that ends it."""
    asked = door.parse(request, gate, allowed=dialect.allowed, now=now)
    if isinstance(asked, Reply):
        return asked
    return dialect.local(asked) or asked

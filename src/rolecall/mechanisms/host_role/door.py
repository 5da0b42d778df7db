"""The door of generation 0: the metadata service as every pod of a bare node sees it, apart from the allow-list."""

from __future__ import annotations

from collections.abc import Collection

from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Issued
from rolecall.errors import Refused, RolecallError
from rolecall.mechanisms.imds import door, wire
from rolecall.mechanisms.imds.door import Asked, Gate

_STATUS = {"no-node-role": 404, "other-role": 404}


def parse(request: Request, gate: Gate, *, allowed: Collection[str], now: float) -> Asked | Reply:
    """Return what is asked for, or the reply that ends it. The result is a listing, credentials, info or a document."""
    asked = door.parse(request, gate, allowed=allowed, now=now)
    if isinstance(asked, Reply):
        return asked
    if asked.what == "directory":
        return door.render_directory(asked, allowed)
    return wire.error(404, "not-found") if asked.what == "other" else asked


def render(asked: Asked, issued: Issued, *, role: str, now: float) -> Reply:
    """Return the role's name, its credentials, or ``iam/info`` with what the session is in place of a profile."""
    if asked.what == "listing":
        return wire.text(role)
    if asked.what == "info":
        return wire.document(wire.info_members(issued.assumed_role_arn, issued.assumed_role_id, now))
    return wire.document(wire.credential_members(issued, now))


def render_error(error: RolecallError) -> Reply:
    """Return the service's page: 404 where there is no such role, 403 where it was not let in, 500 else."""
    if isinstance(error, Refused):
        return wire.error(_STATUS.get(error.word, 403), error.word)
    return wire.error(500, error.word)

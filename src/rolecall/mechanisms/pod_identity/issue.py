"""How a grant becomes credentials: one AssumeRole a hop, the last one's session is the pod's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from rolecall.core.grant import Grant, Hop
from rolecall.core.records import Association
from rolecall.core.source import Issued, Subject

Assume = Callable[[Hop, Issued | None], Awaitable[Issued]]
"""Assumes a role: as the server's own principal, or with an issued session where roles are chained."""


async def issue(grant: Grant, association: Association, assume: Assume) -> Issued:
    """Return the pod's credentials. Raises what `assume` raises; nothing is handed out of a broken chain."""
    issued: Issued | None = None
    for hop in grant.hops:
        issued = await assume(hop, issued)
    assert issued is not None, "a grant has at least one hop"
    return replace(
        issued,
        subject=Subject(association.namespace, association.service_account),
        association_arn=str(association.arn),
        association_id=association.id,
    )

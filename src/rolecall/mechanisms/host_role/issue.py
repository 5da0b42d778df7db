"""How a grant becomes credentials: EC2 has issued them to the node already; they are only fetched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rolecall.core.grant import Grant
from rolecall.core.names import RoleArn
from rolecall.core.source import Issued

Fetch = Callable[[RoleArn], Awaitable[Issued]]
"""Returns the node's credentials of this role, from the node's own metadata service."""


async def issue(grant: Grant, fetch: Fetch) -> Issued:
    """Return the node's credentials; there is no subject, for nobody knows one. Raises what `fetch` raises."""
    return await fetch(grant.role)

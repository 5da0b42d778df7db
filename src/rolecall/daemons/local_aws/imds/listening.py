"""A metadata service's listener: whoever is slow is cut off, and a web page is not answered.

EC2's answers whoever reaches it; here that could be any page that the person of this laptop looks at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.local_aws.guard import sent_by_page
from rolecall.edges.clock import Clock
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.sockets import Listener
from rolecall.edges.telemetry import Log
from rolecall.mechanisms.imds import wire

# Everybody comes from loopback: what one address may have is what there is.
_LIMITS = ServerLimits(head=16 * 1024, body=4 * 1024, connections=512, connections_of_one=512, kept=4 * 1024 * 1024)


@asynccontextmanager
async def served(
    answer: Callable[[Request], Awaitable[Reply]], listener: Listener, clock: Clock
) -> AsyncIterator[None]:
    """Serve on a bound socket while the context lasts; requests under way get a second to finish."""

    def handler(request: Request) -> Reply | Awaitable[Reply]:
        return wire.error(403, "web-page") if sent_by_page(request) else answer(request)

    server = HttpServer(handler, clock=clock, limits=_LIMITS, log=Log("rolecall.imds"))
    await server.listen(listener)
    try:
        yield
    finally:
        await server.close(1.0)

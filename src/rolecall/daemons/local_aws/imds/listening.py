"""A metadata service's listener: SDKs wait a second for it, and whoever is slow is cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rolecall.edges.clock import Clock
from rolecall.edges.http_server import Handler, HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.sockets import Listener
from rolecall.edges.telemetry import Log

# Everybody comes from loopback: what one address may have is what there is.
_LIMITS = ServerLimits(head=16 * 1024, body=4 * 1024, connections=512, connections_of_one=512, kept=4 * 1024 * 1024)


@asynccontextmanager
async def served(handler: Handler, listener: Listener, clock: Clock) -> AsyncIterator[None]:
    """Serve on a bound socket while the context lasts; requests under way get a second to finish."""
    server = HttpServer(handler, clock=clock, limits=_LIMITS, log=Log("rolecall.imds"))
    await server.listen(listener)
    try:
        yield
    finally:
        await server.close(1.0)

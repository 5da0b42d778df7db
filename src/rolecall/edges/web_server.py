"""uvicorn, run by us: our sockets, our signals, our log."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from rolecall.edges.asgi import Application

LONGEST_HEAD = 128 * 1024  # request line and headers: session tokens are long, nothing else is


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, serving: asyncio.Event) -> None:
        super().__init__(config)
        self._serving = serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when the listener is served."""
        await super().startup(sockets=sockets)
        self._serving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process that runs us."""
        yield


async def serve(app: Application, listener: socket.socket, stop: asyncio.Event, started: asyncio.Event) -> None:
    """Serve `app` on a bound socket until `stop` is set; requests under way get a second to finish.

    `started` is set once connections are answered.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        limit_concurrency=1000,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    server = _Server(config, started)
    running = asyncio.create_task(server.serve(sockets=[listener]), name="web.server")
    stopping = asyncio.create_task(stop.wait(), name="web.stop")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        await running

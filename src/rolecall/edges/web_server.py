"""uvicorn, run by us: our sockets, our signals, our log."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn

from rolecall.edges.asgi import Application
from rolecall.errors import Misconfigured

LONGEST_HEAD = 128 * 1024  # request line and headers: session tokens are long, nothing else is


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process that runs us."""
        yield


def bind(host: str, port: int, flag: str) -> socket.socket:
    """Return a listening socket; raises `Misconfigured` naming the flag where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as fault:
        listener.close()
        if fault.errno == errno.EADDRINUSE:
            raise Misconfigured(
                f"{host}:{port} is in use by another program", hint=f"stop it, or choose another address with {flag}"
            ) from None
        raise Misconfigured(f"cannot listen on {host}:{port}: {fault.strerror}", hint=f"choose another {flag}") from None
    return listener


async def serve(app: Application, listener: socket.socket, stop: asyncio.Event, started: asyncio.Event) -> None:
    """Serve `app` on a bound socket until `stop` is set; requests under way get a second to finish."""
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
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]), name="web.server")
    stopping = asyncio.create_task(stop.wait(), name="web.stop")
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.005)
        started.set()
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        await running

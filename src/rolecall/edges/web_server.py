"""uvicorn, run by us: our sockets, our signals, our log, and a bound on the time that a request may take to arrive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from rolecall.edges.asgi import Application
from rolecall.edges.telemetry import Log

LONGEST_HEAD = 128 * 1024  # request line and headers: session tokens are long, nothing else is
PATIENCE = 30.0
"""Seconds that a head may take to arrive, and that a connection may be idle."""


class _Protocol(H11Protocol):
    """uvicorn's, which by itself waits for ever for a head that never ends."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()  # the head is there; the body has a bound of its own

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self._deadline = asyncio.get_running_loop().call_later(PATIENCE, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self._is_answering():
            self.transport.close()

    def _is_answering(self) -> bool:
        cycle = cast(RequestResponseCycle | None, self.cycle)  # None before the first request, whatever its type says
        return cycle is not None and not cycle.response_complete


class _ToOurLog(logging.Handler):
    """Takes what uvicorn says of itself to our log: its words only, never what it filled them with."""

    _log = Log("rolecall.web")

    def emit(self, record: logging.LogRecord) -> None:
        """Write it down; a record's arguments may hold what a client sent."""
        self._log.debug("web.said", words=str(record.msg)[:200])


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
        http=_Protocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=3600,  # ours comes sooner
        timeout_graceful_shutdown=1,
        limit_concurrency=1000,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    said = logging.getLogger("uvicorn")
    said.handlers[:], said.propagate = [_ToOurLog()], False
    server = _Server(config, started)
    running = asyncio.create_task(server.serve(sockets=[listener]), name="web.server")
    stopping = asyncio.create_task(stop.wait(), name="web.stop")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        await running

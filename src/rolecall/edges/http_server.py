"""A small HTTP/1.1 server for the agent's doors: httptools parses, every size and wait is bounded.

One request at a time on a connection; requests that come early wait their turn (RFC 9112 §9.3.2).
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import httptools

from rolecall.core.exchange import Reply, Request
from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log

Handler = Callable[[Request], Reply | Awaitable[Reply]]
_TEXT = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_ONCE = frozenset({"host", "content-length", "authorization", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of one listener: bytes of head and body, seconds of idleness, connections at once."""

    head: int = 128 * 1024
    body: int = 64 * 1024
    idle: float = 30.0
    connections: int = 2048


class _TooLarge(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class HttpServer:
    """A listener and its connections."""

    def __init__(self, handler: Handler, *, clock: Clock, limits: ServerLimits, log: Log) -> None:
        self.handler, self.clock, self.limits, self.log = handler, clock, limits, log
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, listener: socket.socket) -> None:
        """Serve on a socket that is bound."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), sock=listener)

    async def close(self, drain: float) -> None:
        """Take no more connections, give requests under way `drain` seconds, then end."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close_when_idle()
        waited = 0.0
        while self.connections and waited < drain:
            await self.clock.sleep(0.02)
            waited += 0.02
        for connection in list(self.connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One client. httptools calls `on_…` for what it finds in the bytes."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: list[tuple[Request, bool]] = []
        self._closing = False
        self._busy = False
        self._peer = ""
        self._start()
        self._parser = httptools.HttpRequestParser(self)

    def _start(self) -> None:
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._head_size = 0

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        if len(self._server.connections) >= self._server.limits.connections:
            self._fail(503, "too many connections")
            return
        self._server.connections.add(self)
        self._rearm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._closing = True  # an answer under way is finished for whoever shares it, and not written

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(400, "Upgrade is not offered")
        except httptools.HttpParserCallbackError as fault:
            cause = fault.__context__
            self._fail(cause.status if isinstance(cause, _TooLarge) else 400, "Request Header Fields Too Large")
        except httptools.HttpParserError:
            self._fail(400, "400 Bad Request")

    # --- what httptools calls ---

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value) + 4)
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > self._server.limits.body:
            raise _TooLarge(413)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, self._target.decode("latin-1"), tuple(self._headers), bytes(self._body), self._peer)
        self._queue.append((request, bool(self._parser.should_keep_alive())))
        self._start()
        if len(self._queue) > 16:
            raise _TooLarge(400)
        self._next()

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._server.limits.head:
            raise _TooLarge(431)

    # --- answering ---

    def _next(self) -> None:
        while self._queue and not self._busy and not self._closing:
            request, keep = self._queue.pop(0)
            names = [name for name, _ in request.headers if name in _ONCE]
            if len(names) != len(set(names)):
                self._fail(400, "400 Bad Request: a header that may come once was given twice")
                return
            self._answer(request, keep)

    def _answer(self, request: Request, keep: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            found = self._server.handler(request)
        except Exception as error:  # noqa: BLE001 - a defect in a handler must not end the connection unanswered
            found = self._crashed(error)
        if isinstance(found, Reply):
            self._write(request, found, keep)
            return
        assert inspect.isawaitable(found)
        self._busy = True
        self._task = asyncio.ensure_future(self._answer_later(request, found, keep))

    async def _answer_later(self, request: Request, found: Awaitable[Reply], keep: bool) -> None:
        try:
            reply = await found
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._crashed(error)
        self._busy = False
        self._write(request, reply, keep)
        self._next()

    def _crashed(self, error: Exception) -> Reply:
        self._server.log.crash("http.handler_crashed", error)
        return Reply(500, b"internal error; the agent's log has its place\n", _TEXT)

    def _write(self, request: Request, reply: Reply, keep: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        keep = keep and not self._closing
        body = b"" if request.method == "HEAD" else reply.body
        self._transport.write(_head(reply, self._server.clock.now(), keep) + body)
        if keep:
            self._rearm()
        else:
            self._closing = True
            self._transport.close()

    def _fail(self, status: int, text: str) -> None:
        """Answer what cannot be answered properly, and close: the rest of the bytes means nothing."""
        self._queue.clear()
        self._closing = True
        if self._transport is not None and not self._transport.is_closing():
            reply = Reply(status, f"{text}\n".encode(), _TEXT)
            self._transport.write(_head(reply, self._server.clock.now(), keep=False) + reply.body)
            self._transport.close()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._server.limits.idle, self.abort)

    def close_when_idle(self) -> None:
        """End the connection once it has nothing to answer."""
        self._closing = True
        if not self._busy and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()


def _head(reply: Reply, now: float, keep: bool) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines += [f"content-length: {len(reply.body)}", f"date: {formatdate(now, usegmt=True)}"]
    if not keep:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

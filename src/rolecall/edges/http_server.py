"""A small HTTP/1.1 server for the agent's doors: httptools parses, every size and wait is bounded.

One request at a time on a connection; requests that come early wait their turn, and so does what cannot be
read (RFC 9112 §9.3.2). A client that does not read its answers is not read from either, and is cut off when idle.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import cast

import httptools

from rolecall.core.exchange import Reply, Request
from rolecall.edges.clock import Clock
from rolecall.edges.http_head import DateLine, head_of, phrase
from rolecall.edges.limits import PerSource, ServerLimits
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.telemetry import Log

Handler = Callable[[Request], Reply | Awaitable[Reply]]
Quick = Callable[[bytes, str], tuple[bytes, bool] | None]
"""(bytes of one whole request, peer) → the bytes of its answer and whether the connection stays; None: read it."""
_TEXT = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_ONCE = frozenset({"host", "content-length", "authorization", "transfer-encoding"})
_MOST_WAITING = 128  # requests of one connection that came before their turn
_MOST_TURNED_AWAY = 64  # connections over the limit that are told so; the others are cut off
_LOOK, _FLUSH = 0.02, 0.5  # seconds, at the end: between two looks; for the last answers to be read


class _Unreadable(Exception):
    """What was sent is refused with this status; nothing after it can be read."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class HttpServer:
    """A listener and its connections.

    A handler is given a `Request` whose header names are lower-case, and returns a `Reply` or a wait for one.
    What it raises is answered with 500, and logged without its message. `quick` is asked first, where nothing
    is half read or half answered: equal bytes ask the same, so whoever knows the answer need not read them.
    `accepted` and `cut_off` count connections, `refused` the answers, by status, to what could not be read.
    """

    def __init__(
        self, handler: Handler, *, clock: Clock, limits: ServerLimits, log: Log, quick: Quick | None = None
    ) -> None:
        self.handler, self.clock, self.limits, self.log, self.quick = handler, clock, limits, log, quick
        self.dated = DateLine()
        self.connections: set[_Connection] = set()
        self.turned_away: set[_Connection] = set()
        self.of_peer: Counter[str] = Counter()
        rate = limits.requests_of_one
        self.pace = PerSource(rate=rate, burst=max(1.0, rate / 4), clock=clock)
        self.accepted = self.cut_off = 0
        self.refused: Counter[int] = Counter()
        self.tls: ServerTls | None = None
        self._server: asyncio.Server | None = None

    @property
    def in_flight(self) -> int:
        """How many requests are being answered now."""
        return sum(connection.busy for connection in self.connections)

    async def listen(self, listener: socket.socket, tls: ServerTls | None = None) -> None:
        """Serve on a socket that is bound, of TCP or of this machine only; with TLS where it is given."""
        self.tls, loop = tls, asyncio.get_running_loop()
        create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        make = create if tls is None else tls.create_server
        self._server = await make(lambda: _Connection(self), sock=listener)

    async def close(self, drain: float) -> None:
        """Take no more connections, give requests under way `drain` seconds, then end.

        Clients that do not read the answer that they were given are waited for only briefly.
        """
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close_when_idle()
        waited = unread = 0.0
        while self.connections and waited < drain and unread < _FLUSH:
            await self.clock.sleep(_LOOK)
            waited += _LOOK
            unread = 0.0 if self.in_flight else unread + _LOOK
        for connection in [*self.connections, *self.turned_away]:
            connection.abort()


class _Connection(asyncio.Protocol):
    """One client. httptools calls `on_…` for what it finds in the bytes."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[tuple[Request, bool] | Reply] = deque()  # a Reply is the last word
        self._busy = False  # a handler is being waited for
        self._full = False  # the client does not read its answers
        self._deaf = False  # whatever else comes is not read
        self._closing = False  # the next answer is the last
        self._held = False  # its address has asked too much, and waits
        self._release_timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._peer = ""
        self._unsaid = 0  # bytes since the parser last told of something
        self._begun = False  # a request is half read
        self._raw = b""  # the bytes that came last, where a request began with them
        self._active = False  # something was answered since the timer was set
        self._quick = server.quick
        self._reader: httptools.HttpRequestParser | None = None  # made when something has to be read
        self._start()

    @property
    def _parser(self) -> httptools.HttpRequestParser:
        if self._reader is None:
            self._reader = httptools.HttpRequestParser(self)
        return self._reader

    def _start(self) -> None:
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._head_size = 0
        self._in_body = False

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its ancestry
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        server = self._server
        server.accepted += 1
        room = server.of_peer[self._peer] < server.limits.connections_of_one
        if room and len(server.connections) < server.limits.connections:
            server.connections.add(self)
            server.of_peer[self._peer] += 1
            self._hold(server.pace.debt(self._peer))
            self._flow()
            self._arm(server.limits.idle)
            if server.tls is not None and not server.tls.admits(transport.get_extra_info("peercert")):
                self._refuse(_Unreadable(403, "your certificate is of another name than those that may ask"))
        elif len(server.turned_away) < _MOST_TURNED_AWAY:
            server.turned_away.add(self)
            self._refuse(_Unreadable(503, "too many connections"))
        else:
            server.cut_off += 1
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._server.connections:
            self._server.connections.remove(self)
            self._server.of_peer[self._peer] -= 1
            if not self._server.of_peer[self._peer]:
                del self._server.of_peer[self._peer]
        self._server.turned_away.discard(self)
        for timer in (self._timer, self._release_timer):
            if timer is not None:
                timer.cancel()  # a timer would keep what has ended in memory
        self._closing = self._deaf = True
        self._queue.clear()  # an answer under way is finished for whoever shares it, and not written

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._raw = b""
        if self._quick is not None and not (self._begun or self._busy or self._queue or self._full):
            known = self._quick(data, self._peer)
            if known is not None:
                self._write_known(*known)
                return
            self._raw = data
        self._unsaid += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the request before it is answered as if nothing else had been offered
        except httptools.HttpParserCallbackError as fault:
            cause = fault.__context__
            self._refuse(cause if isinstance(cause, _Unreadable) else _Unreadable(400))
        except httptools.HttpParserError:
            self._refuse(_Unreadable(400))
        else:
            if self._unsaid > self._server.limits.head:  # one endless line, of which the parser says nothing yet
                self._refuse(_Unreadable(431))
        self._flow()

    def eof_received(self) -> bool:
        self._deaf = True
        return self._busy or bool(self._queue)  # it may still wait for what it has asked

    def pause_writing(self) -> None:
        self._full = True
        self._flow()

    def resume_writing(self) -> None:
        self._full = False
        self._next()
        self._flow()

    # --- what httptools calls ---

    def on_message_begin(self) -> None:
        self._begun = True

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value) + 4)
        if not self._in_body:  # fields after a chunked body say nothing about the request (RFC 9110 §6.5.1)
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        self._unsaid = 0
        self._in_body = True
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise _Unreadable(505)
        names = [name for name, _ in self._headers if name in _ONCE]
        if len(names) != len(set(names)):
            raise _Unreadable(400, "a header that may come once was given twice")
        if "host" not in names and self._parser.get_http_version() == "1.1":
            raise _Unreadable(400, "missing required Host header")

    def on_body(self, body: bytes) -> None:
        self._unsaid = 0
        self._body += body
        if len(self._body) > self._server.limits.body:
            raise _Unreadable(413)

    def on_message_complete(self) -> None:
        self._unsaid, self._begun = 0, False
        method = self._parser.get_method().decode("latin-1")
        keep = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        raw, self._raw = self._raw if _is_one_head(self._raw) else b"", b""
        target, body = self._target.decode("latin-1"), bytes(self._body)
        request = Request(method, target, tuple(self._headers), body, self._peer, raw, not keep)
        self._start()
        if len(self._queue) >= _MOST_WAITING:
            raise _Unreadable(429, "too many requests before the first answer")
        self._queue.append((request, keep and not self._parser.should_upgrade()))
        self._hold(self._server.pace.reserve(self._peer))
        self._next()

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._server.limits.head or len(self._headers) >= self._server.limits.fields:
            raise _Unreadable(431)

    # --- answering ---

    def _next(self) -> None:
        while self._queue and not self._busy and not self._full and not self._is_closing():
            found = self._queue.popleft()
            if isinstance(found, Reply):
                self._write_last(found)
                return
            self._answer(*found)

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
        self._flow()

    def _crashed(self, error: Exception) -> Reply:
        self._server.log.crash("http.handler_crashed", error)
        return Reply(500, b"internal error; the log has its place\n", _TEXT)

    def _write(self, request: Request, reply: Reply, keep: bool) -> None:
        if self._transport is None or self._is_closing():
            return
        keep = keep and not self._closing and not (self._deaf and not self._queue)
        silent = request.method == "HEAD" or reply.status in (204, 304)
        self._arm(self._server.limits.idle)  # also to a client that never reads what it is left with
        dated = self._server.dated(self._server.clock.now())
        self._transport.write(head_of(reply, keep=keep) + dated + (b"" if silent else reply.body))
        if not keep:
            self._end()
            self._transport.close()

    def _write_known(self, answer: bytes, keep: bool) -> None:
        assert self._transport is not None
        self._active = True
        self._transport.write(answer)
        if not keep:
            self._end()
            self._transport.close()

    def _refuse(self, why: _Unreadable) -> None:
        """Answer what cannot be read, in its turn; the rest of the bytes means nothing."""
        self._deaf = True
        self._server.refused[why.status] += 1
        detail = f": {why.detail}" if why.detail else ""
        retry = (("retry-after", "1"),) if why.status in (429, 503) else ()
        body = f"{why.status} {phrase(why.status)}{detail}\n".encode()
        self._queue.append(Reply(why.status, body, _TEXT + retry))
        self._next()

    def _write_last(self, reply: Reply) -> None:
        """Answer, and let the client finish sending: closing now would destroy the answer (RFC 9112 §9.6)."""
        assert self._transport is not None
        self._end()
        self._arm(self._server.limits.linger)
        self._transport.write(head_of(reply, keep=False) + self._server.dated(self._server.clock.now()) + reply.body)
        if self._transport.can_write_eof():  # TLS cannot end one direction alone
            self._transport.write_eof()

    def _end(self) -> None:
        self._closing = self._deaf = True
        self._queue.clear()

    # --- the connection ---

    @property
    def busy(self) -> bool:
        """Whether a request of this client is being answered."""
        return self._busy

    def _is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _flow(self) -> None:
        """Read only from a client whose requests are answered and who reads the answers."""
        pause = (bool(self._queue) or self._full or self._held) and not self._closing
        if self._transport is None or self._is_closing() or pause == self._paused:
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _hold(self, seconds: float) -> None:
        """Read nothing more for so long, if for any time at all."""
        if seconds > 0 and not self._held:
            self._held = True
            wait = min(seconds, self._server.limits.idle / 2)
            self._release_timer = asyncio.get_running_loop().call_later(wait, self._release)

    def _release(self) -> None:
        self._held = False
        self._flow()

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        """End a connection that was quiet all the time; a busy one is not given a new timer for every answer."""
        if self._active:
            self._active = False
            self._arm(seconds)
        else:
            self.abort()

    def close_when_idle(self) -> None:
        """End the connection once it has nothing to answer."""
        self._closing = True
        if not self._busy and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()


def _is_one_head(data: bytes) -> bool:
    """Whether these bytes end with the only end of a head in them: one request without a body."""
    return data.endswith(b"\r\n\r\n") and data.count(b"\r\n\r\n") == 1 and b"\n\n" not in data

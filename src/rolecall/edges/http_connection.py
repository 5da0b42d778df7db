"""One client of `HttpServer`: what it asks is answered in its turn, and everything that it may do has an end."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from rolecall.core.exchange import Reply, Request
from rolecall.edges.http_head import head_of, phrase
from rolecall.edges.http_reader import RequestReader, Unreadable
from rolecall.edges.sockets import limit_hops

if TYPE_CHECKING:
    from rolecall.edges.http_server import HttpServer

_TEXT = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_NEVER = float("inf")
_MOST_WAITING = 128  # requests of one connection that came before their turn
_MOST_EARLY = 8192  # bytes of a connection whose address has to wait: a few requests of an SDK
_MOST_UNSENT = 16_384  # bytes of answers that wait here until the client reads; the kernel has some more


class Connection(asyncio.Protocol):
    """One client, from its first byte to its last."""

    __slots__ = (
        "_active", "_busy", "_closing", "_deaf", "_early", "_ends", "_full", "_held", "_kept", "_patience", "_paused",
        "_peer", "_queue", "_quick", "_reader", "_release_timer", "_server", "_task", "_transport", "_unsent",
        "_weight",
    )  # fmt: skip

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._release_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: list[tuple[Request, bool, int] | Reply] = []  # a Reply is the last word
        self._busy = False  # a handler is being waited for
        self._full = False  # the client does not read its answers
        self._deaf = False  # whatever else comes is not read
        self._closing = False  # the next answer is the last
        self._held = False  # its address has asked too much, and waits
        self._early = b""  # what came although it waits
        self._paused = False
        self._peer = ""
        self._ends = _NEVER  # when it has been quiet for too long, in monotonic time
        self._patience = 0.0  # seconds that it may be quiet
        self._active = False  # something was answered since the end was set
        self._quick = server.quick
        self._reader: RequestReader | None = None  # made when something has to be read
        self._kept = 0  # bytes of the requests that wait or are being answered
        self._weight = 0  # bytes that the server knows to be kept for this client
        self._unsent = b""  # an answer that leaves with those of others, at the end of this round of the loop

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its ancestry
        self._transport.set_write_buffer_limits(_MOST_UNSENT)
        peer = transport.get_extra_info("peername")
        self._peer = sys.intern(str(peer[0])) if peer else ""  # one object for all of an address: equal at a glance
        server = self._server
        server.accepted += 1
        server.descriptors.took(transport.get_extra_info("socket"))
        if server.admit(self, self._peer):
            self._hold(server.pace.debt(self._peer))
            self._arm(server.limits.idle)
            if server.tls is not None and not server.tls.admits(transport.get_extra_info("peercert")):
                self._refuse(Unreadable(403, "your certificate is of another name than those that may ask"))
        elif server.turn_away(self):
            self._refuse(Unreadable(503, "too many connections"))
        else:
            self.cut_off()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self, self._peer)
        if self._release_timer is not None:
            self._release_timer.cancel()  # a timer would keep what has ended in memory
        self._end()  # an answer under way is finished for whoever shares it, and not written
        self._drop_half()
        self._account()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        clean = not (self._busy or self._queue or self._full or self._early)
        if clean and self._quick is not None and (self._reader is None or not self._reader.begun):
            known = self._quick(data, self._peer)
            if known is not None:
                self._write_known(*known)
                return
        if self._held:
            self._keep_early(data)
        else:
            self._read(data)

    def eof_received(self) -> bool:
        self._deaf = True
        self.send()
        return self._busy or bool(self._queue or self._early)  # it may still wait for what it has asked

    def pause_writing(self) -> None:
        self._full = True
        self._flow()

    def resume_writing(self) -> None:
        self._full = False
        self._next()
        self._flow()

    # --- reading ---

    def _read(self, data: bytes) -> None:
        if self._reader is None:
            self._reader = RequestReader(self._peer, self._server.limits, self._took)
        try:
            if not self._reader.feed(data):
                self._deaf = True
            self._account()
        except Unreadable as why:
            self._refuse(why)
        self._flow()

    def _took(self, request: Request, keep: bool, size: int) -> None:
        """Put a request in its place; the reader calls this."""
        if self._closing:
            return
        if len(self._queue) >= _MOST_WAITING:
            raise Unreadable(429, "too many requests before the first answer")
        self._account(size)
        self._queue.append((request, keep, size))
        self._hold(self._server.pace.reserve(self._peer))
        self._next()

    def _keep_early(self, data: bytes) -> None:
        """Keep what came while its address has to wait: a new connection is read from once, for what is known."""
        self._early += data
        try:
            self._account()
        except Unreadable as why:
            self._refuse(why)
        if len(self._early) > _MOST_EARLY:
            self.cut_off()
        self._flow()

    def _account(self, more: int = 0) -> None:
        """Tell the server how much is kept for this client; raises `Unreadable` where more would be too much."""
        half = 0 if self._reader is None else self._reader.size
        weight = self._kept + more + half + len(self._early)
        if weight != self._weight and not self._server.kept.change(self._peer, weight - self._weight):
            raise Unreadable(503, "too much of your address is waiting")
        self._kept, self._weight = self._kept + more, weight

    # --- answering ---

    def _next(self) -> None:
        while self._queue and not self._busy and not self._full and not self._is_closing():
            found = self._queue.pop(0)
            if isinstance(found, Reply):
                self._write_last(found)
                return
            self._answer(*found)

    def _answer(self, request: Request, keep: bool, size: int) -> None:
        self._ends = _NEVER
        try:
            found = self._server.handler(request)
        except Exception as error:  # noqa: BLE001 - a defect in a handler must not end the connection unanswered
            found = self._crashed(error)
        if isinstance(found, Reply):
            self._kept -= size
            self._write(request, found, keep)
            return
        assert inspect.isawaitable(found)
        self._busy = True
        self._task = asyncio.ensure_future(self._answer_later(request, found, keep, size))

    async def _answer_later(self, request: Request, found: Awaitable[Reply], keep: bool, size: int) -> None:
        try:
            reply = await found
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._crashed(error)
        self._busy = False
        self._kept -= size
        self._write(request, reply, keep)
        self._next()
        self._account()
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
        if reply.hops:
            self.send()
            limit_hops(self._transport.get_extra_info("socket"), reply.hops)
        first = not self._unsent  # a second one says that the client asks without waiting for answers
        self._unsent += head_of(reply, keep=keep) + dated + (b"" if silent else reply.body)
        if first and keep:
            self._server.send_soon(self)
        else:
            self.send()
        if not keep:
            self._end()
            self._transport.close()

    def send(self) -> None:
        """Send the answer that waits for this, if there is one."""
        unsent, self._unsent = self._unsent, b""
        if unsent and self._transport is not None and not self._transport.is_closing():
            self._transport.write(unsent)

    def _write_known(self, answer: bytes, keep: bool) -> None:
        assert self._transport is not None
        self._active = True
        if self._unsent:
            self.send()
        self._transport.write(answer)
        if not keep:
            self._end()
            self._transport.close()

    def _refuse(self, why: Unreadable) -> None:
        """Answer what cannot be read, in its turn; the rest of the bytes means nothing."""
        if self._closing:
            return
        self._deaf = True
        self._drop_half()
        self._server.refused[why.status] += 1
        detail = f": {why.detail}" if why.detail else ""
        retry = (("retry-after", "1"),) if why.status in (429, 503) else ()
        body = f"{why.status} {phrase(why.status)}{detail}\n".encode()
        self._queue.append(Reply(why.status, body, _TEXT + retry))
        self._next()
        self._account()

    def _write_last(self, reply: Reply) -> None:
        """Answer, and let the client finish sending: closing now would destroy the answer (RFC 9112 §9.6)."""
        assert self._transport is not None
        self._end()
        self._arm(self._server.limits.linger)
        self.send()
        self._transport.write(head_of(reply, keep=False) + self._server.dated(self._server.clock.now()) + reply.body)
        if self._transport.can_write_eof():  # TLS cannot end one direction alone
            self._transport.write_eof()

    def _end(self) -> None:
        self._closing = self._deaf = True
        self._kept -= sum(found[2] for found in self._queue if not isinstance(found, Reply))
        self._queue.clear()
        self._early = b""

    def _drop_half(self) -> None:
        self._early = b""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

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
        self._held, early, self._early = False, self._early, b""
        if early and not self._is_closing():
            ended, self._deaf = self._deaf, False
            self._read(early)
            if ended and not self.eof_received() and self._transport is not None:
                self._transport.close()
        self._flow()

    def _arm(self, seconds: float) -> None:
        self._patience = seconds
        self._ends = self._server.clock.monotonic() + seconds

    def expire(self, now: float) -> None:
        """End a connection that has been quiet for too long; a busy one need not be given a new end at each answer."""
        if now < self._ends:
            return
        if self._active:
            self._active = False
            self._ends = now + self._patience
        else:
            self.abort()

    def close_when_idle(self) -> None:
        """End the connection once it has nothing to answer."""
        self._closing = True
        self.send()
        if not self._busy and self._transport is not None:
            self._transport.close()

    def cut_off(self) -> None:
        """End the connection now, for being too much."""
        self._server.cut_off += 1
        self.abort()

    def abort(self) -> None:
        """End the connection now."""
        self.send()
        if self._transport is not None:
            self._transport.abort()

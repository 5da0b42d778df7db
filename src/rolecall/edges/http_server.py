"""A small HTTP/1.1 server: every size and wait is bounded, for each address and in all.

One request at a time on a connection; requests that come early wait their turn, and so does what cannot be
read (RFC 9112 §9.3.2). A client that does not read its answers is not read from either, and is cut off when idle.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from rolecall.core.exchange import Reply, Request
from rolecall.edges.clock import Clock
from rolecall.edges.descriptors import DescriptorWatch
from rolecall.edges.http_connection import Connection
from rolecall.edges.http_head import DateLine
from rolecall.edges.limits import PerSource, ServerLimits, Shares
from rolecall.edges.telemetry import Log

if TYPE_CHECKING:
    from rolecall.edges.server_tls import ServerTls

Handler = Callable[[Request], Reply | Awaitable[Reply]]
Quick = Callable[[bytes, str], tuple[bytes, bool] | None]
"""(bytes of one whole request, peer) → the bytes of its answer and whether the connection stays; None: read it."""


class _Closes(Protocol):
    """What takes connections until it is told to stop."""

    def close(self) -> None: ...


_MOST_TURNED_AWAY = 64  # connections over the limit that are told so; the others are cut off
_SWEEP = 0.5  # seconds between two looks for connections that are quiet too long
_LOOK, _FLUSH = 0.02, 0.5  # seconds, at the end: between two looks; for the last answers to be read
_TOGETHER = 16  # answers that leave at once, at most
_SEND, _RECEIVE = 16_384, 32_768  # bytes that the kernel keeps for a connection; it doubles them for its own needs


class HttpServer:
    """A listener and its connections.

    A handler is given a `Request` whose header names are lower-case, and returns a `Reply` or a wait for one.
    What it raises is answered with 500, and logged without its message. `quick` is asked first, where nothing
    is half read or half answered: equal bytes ask the same, so whoever knows the answer need not read them.
    `accepted` and `cut_off` count connections, `refused` the answers, by status, to what could not be read.
    `kept` has the bytes of requests that are half read, wait, or are being answered.
    """

    def __init__(
        self, handler: Handler, *, clock: Clock, limits: ServerLimits, log: Log, quick: Quick | None = None
    ) -> None:
        self.handler, self.clock, self.limits, self.log, self.quick = handler, clock, limits, log, quick
        self.dated, self.descriptors = DateLine(), DescriptorWatch(log)
        self.connections: set[Connection] = set()
        self.turned_away: set[Connection] = set()
        self.of_peer: dict[str, dict[Connection, None]] = {}  # the oldest first
        rate = limits.requests_of_one
        self.pace = PerSource(rate=rate, burst=max(1.0, rate / 4), clock=clock)
        self.kept = Shares(most=limits.kept, of_one=limits.kept_of_one)
        self.accepted = self.cut_off = 0
        self.refused: Counter[int] = Counter()
        self.tls: ServerTls | None = None
        self._unsent: list[Connection] = []
        self._server: _Closes | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """How many requests are being answered now."""
        return sum(connection.busy for connection in self.connections)

    async def listen(self, listener: socket.socket, tls: ServerTls | None = None) -> None:
        """Serve on a socket that is bound, of TCP or of this machine only; with TLS where it is given."""
        self.tls, loop = tls, asyncio.get_running_loop()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)
        create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        make = create if tls is None else tls.create_server
        self._server = await make(lambda: Connection(self), sock=listener)
        self._sweep()

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
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        """Look for what has been quiet too long. A timer for each would be most of an idle connection's memory."""
        now = self.clock.monotonic()
        for connection in [*self.connections, *self.turned_away]:
            connection.expire(now)
        every = min(_SWEEP, self.limits.idle / 8, self.limits.linger / 2)
        self._sweeper = asyncio.get_running_loop().call_later(every, self._sweep)

    def send_soon(self, connection: Connection) -> None:
        """Send its answer once everything was read that had come by now, with the answers to that.

        Sending one by one would have the kernel wake the other side for each.
        """
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent.append(connection)
        if len(self._unsent) >= _TOGETHER:
            self._send()

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.send()

    # --- who may be connected: a connection asks ---

    def admit(self, connection: Connection, peer: str) -> bool:
        """Take a connection in, if there is room for one more of its address."""
        of_one = len(self.of_peer.get(peer, ()))
        if of_one >= self.limits.connections_of_one:
            return False
        if len(self.connections) >= self.limits.connections and not self._make_room(of_one):
            return False
        self.connections.add(connection)
        self.of_peer.setdefault(peer, {})[connection] = None
        return True

    def turn_away(self, connection: Connection) -> bool:
        """Say whether there is room to tell a connection that there is none."""
        if len(self.turned_away) >= _MOST_TURNED_AWAY:
            return False
        self.turned_away.add(connection)
        return True

    def forget(self, connection: Connection, peer: str) -> None:
        """Let go of a connection that has ended."""
        self.connections.discard(connection)
        self.turned_away.discard(connection)
        of_one = self.of_peer.get(peer)
        if of_one is not None:
            of_one.pop(connection, None)
            if not of_one:
                del self.of_peer[peer]

    def _make_room(self, of_one: int) -> bool:
        """Cut off the oldest idle connection of the address with most of them, for one with fewer."""
        peer, most = max(self.of_peer.items(), key=lambda found: len(found[1]))
        idle = next((connection for connection in most if not connection.busy), None)
        if idle is None or len(most) <= of_one + 1:
            return False
        self.forget(idle, peer)
        idle.cut_off()
        return True

"""Takes connections in and finishes their TLS handshakes, so many at once: those that stall shut out nobody else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from rolecall.edges.clock import SystemClock

MOST = 512
"""Handshakes at once; beyond that the oldest is given up of the address that has most."""
UNFINISHED = ("given-up", "late", "failed")
"""What becomes of a handshake that is never finished."""
_SECONDS, _SHUTDOWN = 10.0, 1.0
_BACKLOG = 1024
_PAUSE = 0.05  # seconds, where a connection could not be taken: most often there is no descriptor


class Handshakes:
    """Serves on a bound socket with TLS; a handler is made for whoever got through, and `unfinished` counts the others.

    Those are ``given-up`` for another in a crowd, ``late``, or ``failed``: one side did not want the other, or left.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        factory: Callable[[], asyncio.Protocol],
        *,
        most: int = MOST,
        unfinished: dict[str, int] | None = None,
    ) -> None:
        self._sock, self._context, self._factory, self._most = sock, context, factory, most
        self._of_peer: dict[str, dict[asyncio.Task[None], None]] = {}  # the oldest first
        self._number = 0
        self.unfinished = dict.fromkeys(UNFINISHED, 0) if unfinished is None else unfinished
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        self._accepting = asyncio.create_task(self._accept(), name="tls.accept")

    def close(self) -> None:
        """Take no more connections; whoever has begun may finish."""
        self._accepting.cancel()

    async def _accept(self) -> None:
        loop, clock = asyncio.get_running_loop(), SystemClock()
        with self._sock:
            while True:
                try:
                    found, address = await loop.sock_accept(self._sock)
                except OSError:
                    await clock.sleep(_PAUSE)
                    continue
                if self._number >= self._most:
                    self._give_up_one()
                self._begin(found, str(address[0]))
                await clock.sleep(0)  # while many wait to be taken, nothing else makes it wait

    def _begin(self, found: socket.socket, peer: str) -> None:
        task = asyncio.create_task(self._finish(found), name="tls.handshake")
        self._of_peer.setdefault(peer, {})[task] = None
        self._number += 1

        def end(ended: asyncio.Task[None]) -> None:
            self._forget(peer, ended)

        task.add_done_callback(end)

    async def _finish(self, found: socket.socket) -> None:
        try:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio looks for a protocol's number first
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory,
                found,
                ssl=self._context,
                ssl_handshake_timeout=_SECONDS,
                ssl_shutdown_timeout=_SHUTDOWN,
            )
        except asyncio.CancelledError:
            pass  # whoever has given it up counts it
        except (ConnectionAbortedError, TimeoutError):
            self.unfinished["late"] += 1
        except OSError:  # of TLS, or of the connection
            self.unfinished["failed"] += 1

    def _give_up_one(self) -> None:
        peer, most = max(self._of_peer.items(), key=lambda found: len(found[1]))
        oldest = next(iter(most))
        oldest.cancel()
        self.unfinished["given-up"] += 1
        self._forget(peer, oldest)

    def _forget(self, peer: str, task: asyncio.Task[None]) -> None:
        tasks = self._of_peer.get(peer)
        if tasks is None or task not in tasks:
            return
        del tasks[task]
        self._number -= 1
        if not tasks:
            del self._of_peer[peer]

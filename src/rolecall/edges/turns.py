"""Turns at a source that only so many questions may be put to at once: fair to addresses, not to arrivals.

A crowd of one address would fill any queue, and its neighbour's one question would come last. Here whoever has the
fewest questions under way is next, so that a newcomer waits for one answer at most, whatever the others have waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from rolecall.core.source import Ask, Issued, Source
from rolecall.errors import ServiceError


class Turns:
    """A `Source` in front of a source: at most `most` questions at once, and of one address at most `of_one`.

    `waiting_of_one` more of an address may wait; raises `ServiceError` 429 for the next, and what the source raises.
    """

    def __init__(self, source: Source, *, most: int, of_one: int, waiting_of_one: int) -> None:
        self._source = source
        self._most, self._of_one, self._waiting_of_one = most, of_one, waiting_of_one
        self._inside: dict[str, int] = {}
        self._free = most
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # who was served last is last

    async def __call__(self, ask: Ask) -> Issued:
        """Ask when it is this address's turn."""
        if self._free > 0 and self._inside.get(ask.peer, 0) < self._of_one:
            self._enter(ask.peer)
        else:
            await self._wait(ask.peer)
        try:
            return await self._source(ask)
        finally:
            self._leave(ask.peer)

    async def _wait(self, peer: str) -> None:
        """Return when it has entered."""
        queue = self._waiting.get(peer) or deque()
        if len(queue) >= self._waiting_of_one:
            raise ServiceError("TooManyRequests", "Too Many Requests", status=429)
        self._waiting[peer] = queue
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it entered, and was given up before it could ask
                self._leave(peer)
            elif turn in queue:
                queue.remove(turn)
                self._drop_empty(peer)
            raise

    def _enter(self, peer: str) -> None:
        self._free -= 1
        self._inside[peer] = self._inside.get(peer, 0) + 1

    def _leave(self, peer: str) -> None:
        self._free += 1
        self._inside[peer] -= 1
        if not self._inside[peer]:
            del self._inside[peer]
        if peer in self._waiting:
            self._waiting.move_to_end(peer)
        self._let_in()

    def _let_in(self) -> None:
        while self._free > 0 and self._waiting:
            peer = min(self._waiting, key=lambda peer: self._inside.get(peer, 0))
            if self._inside.get(peer, 0) >= self._of_one:
                return
            queue = self._waiting[peer]
            turn = queue.popleft()
            self._drop_empty(peer)
            if not turn.cancelled():
                self._enter(peer)
                turn.set_result(None)

    def _drop_empty(self, peer: str) -> None:
        if not self._waiting.get(peer, True):
            del self._waiting[peer]

"""A clock whose time moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

_TURNS = 20
"""How often other tasks get a turn, so that what a woken sleeper starts can reach its next wait."""


class FakeClock:
    """Virtual time: `sleep` waits until `advance` has moved the clock far enough.

    `now` starts at `start` (seconds since the epoch); `monotonic` starts at zero. Both move together, but for
    `step`, which sets the wall clock alone, as an operator or a time daemon does.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return the virtual time in seconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Return the virtual seconds since this clock was made."""
        return self._elapsed

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back where `seconds` is negative; no time passes and nobody wakes."""
        self._start += seconds

    @property
    def sleepers(self) -> int:
        """How many are waiting in `sleep` now."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time forward, stopping at each sleeper's moment in order and letting it run there.

        Sleepers due at one moment wake in the order in which they lay down. A sleeper that goes to
        sleep again within the span wakes again within this same call.
        """
        if seconds < 0:
            raise ValueError("time only goes forward")
        await self._settle()
        end = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._elapsed = max(self._elapsed, due)
            future.set_result(None)
            await self._settle()
        self._elapsed = end
        await self._settle()

    @staticmethod
    async def _settle() -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)

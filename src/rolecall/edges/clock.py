"""The one reader of time. Everything else is given `now`, or waits through a Clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Protocol, TypeVar

Answer = TypeVar("Answer")


class Clock(Protocol):
    """Tells the time and waits; `rolecall.testing.fake_clock.FakeClock` is the other one."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC: what credentials and tokens are dated with."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only go forward, from an arbitrary start: what durations are measured with."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds; zero or fewer lets others run once."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that only go forward."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        await asyncio.sleep(max(0.0, seconds))


async def within(clock: Clock, seconds: float, work: Awaitable[Answer]) -> Answer:
    """Return what `work` brings; raise `TimeoutError`, having cancelled it, where it takes longer than that.

    Unlike `asyncio.timeout` this waits through a Clock, and does not wait for work that will not be cancelled.
    """
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        alarm.cancel()
        if not task.done():
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else reads it
            task.cancel()

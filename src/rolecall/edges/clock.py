"""The one reader of time. Everything else is given `now`, or waits through a Clock."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


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

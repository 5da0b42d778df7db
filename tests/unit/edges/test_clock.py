"""Waiting for so long, through a clock."""

from __future__ import annotations

import asyncio

import pytest

from rolecall.edges.clock import within
from rolecall.testing.fake_clock import FakeClock


def test_within() -> None:
    """The result or the error of work that is done in time; what takes longer is cancelled, alarm and all."""

    async def scene() -> None:
        clock = FakeClock()

        async def work(seconds: float) -> str:
            await clock.sleep(seconds)
            if seconds == 2.0:
                raise ZeroDivisionError
            return "done"

        async def stubborn() -> None:
            try:
                await clock.sleep(1000.0)
            except asyncio.CancelledError:
                await clock.sleep(1000.0)

        in_time, failing, late, never = (
            asyncio.create_task(within(clock, 3.0, found)) for found in (work(1.0), work(2.0), work(4.0), stubborn())
        )
        await clock.advance(3.0)
        assert await in_time == "done"
        with pytest.raises(ZeroDivisionError):
            await failing
        for task in (late, never):
            with pytest.raises(TimeoutError):
                await task
        assert clock.sleepers == 1, "only the work that will not be cancelled"
        cancelled = asyncio.create_task(within(clock, 3.0, work(1.0)))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await clock.advance(0.0)
        assert clock.sleepers == 1

    asyncio.run(scene())

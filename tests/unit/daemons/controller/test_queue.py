"""The queue: each key once, one worker a key, later after failures, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rolecall.daemons.controller.queue import Key, Queue
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock

A, B, C = ("shop", "a"), ("shop", "b"), ("shop", "c")


class Work:
    """Notes when each key is begun and ended; takes `takes` seconds, and does as `then` says."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.takes = clock, 0.0
        self.begun: list[tuple[float, Key]] = []
        self.now: set[Key] = set()
        self.most = 0
        self.then: dict[Key, float | Exception | None] = {}

    async def __call__(self, key: Key) -> float | None:
        assert key not in self.now, "two workers have one key"
        self.begun.append((self.clock.monotonic(), key))
        self.now.add(key)
        self.most = max(self.most, len(self.now))
        try:
            await self.clock.sleep(self.takes)
        finally:
            self.now.discard(key)
        outcome = self.then.get(key)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def times(self, key: Key) -> list[float]:
        """Return when a key was begun."""
        return [at for at, one in self.begun if one == key]


@contextlib.asynccontextmanager
async def running(workers: int = 2, dice: float = 1.0) -> AsyncIterator[tuple[FakeClock, Work, Queue]]:
    """A queue that runs."""
    clock = FakeClock()
    work = Work(clock)
    queue = Queue(work, workers=workers, clock=clock, dice=lambda: dice, log=Log("rolecall.test"))
    task = asyncio.create_task(queue.run())
    try:
        yield clock, work, queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_key_is_looked_at_once() -> None:
    """However often it is added; while it is being looked at, once more afterwards, and by nobody else meanwhile."""

    async def scenario() -> None:
        async with running() as (clock, work, queue):
            work.takes = 2.0
            for _ in range(100):
                queue.add(A)
            await clock.advance(1.0)
            for _ in range(100):
                queue.add(A)
            await clock.advance(10.0)
            assert work.times(A) == [0.0, 2.0]
            assert not queue.failures

    asyncio.run(scenario())


def test_so_many_at_once() -> None:
    """Never more than there are workers, and every key gets its turn."""

    async def scenario() -> None:
        async with running(workers=3) as (clock, work, queue):
            work.takes = 1.0
            keys = [("shop", str(number)) for number in range(30)]
            for key in keys:
                queue.add(key)
            await clock.advance(11.0)
            assert sorted(key for _, key in work.begun) == sorted(keys)
            assert work.most == 3
            assert queue.done == 30

    asyncio.run(scenario())


def test_it_is_looked_at_again_when_it_is_due() -> None:
    """After what the work returned; sooner where it is added; not at all where the work returned nothing."""

    async def scenario() -> None:
        async with running() as (clock, work, queue):
            work.then[A] = 600.0
            queue.add(A)
            queue.add(B)
            await clock.advance(599.0)
            assert (work.times(A), work.times(B)) == ([0.0], [0.0])
            await clock.advance(1.0)
            queue.add(A)
            queue.add(A, 5.0)
            await clock.advance(599.0)
            assert work.times(A) == [0.0, 600.0, 600.0]
            assert work.times(B) == [0.0]

    asyncio.run(scenario())


def test_failures_wait_longer_each_time() -> None:
    """Twice as long up to five minutes, of one key and not of others; a success begins anew, a defect counts too."""

    async def scenario() -> None:
        async with running() as (clock, work, queue):
            work.then |= {A: Upstream("no"), B: ValueError("secret")}
            queue.add(A)
            queue.add(B)
            queue.add(C)
            await clock.advance(2000.0)
            gaps = [later - sooner for sooner, later in zip(work.times(A), work.times(A)[1:], strict=False)]
            assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0, 300.0]
            assert len(work.times(B)) == len(work.times(A))
            assert work.times(C) == [0.0]
            assert set(queue.failures) == {"Upstream", "crash"}
            assert queue.failing == 2
            work.then[A] = None
            queue.add(A)
            await clock.advance(7.0)
            work.then[A] = Upstream("no")
            queue.add(A)
            await clock.advance(1.5)
            assert work.times(A)[-2:] == [2007.0, 2008.0]

    asyncio.run(scenario())


def test_a_change_is_acted_on_at_once_also_in_back_off() -> None:
    """Whoever mends the resource does not wait for the next try."""

    async def scenario() -> None:
        async with running() as (clock, work, queue):
            work.then[A] = Upstream("no")
            queue.add(A)
            await clock.advance(100.0)
            work.then[A] = None
            queue.add(A)
            await clock.advance(0.0)
            assert work.times(A)[-1] == 100.0

    asyncio.run(scenario())


def test_what_is_dropped_ends() -> None:
    """Work under way is cancelled, nothing waits any more, and afterwards keys are taken as before."""

    async def scenario() -> None:
        async with running() as (clock, work, queue):
            work.takes = 10.0
            queue.add(A)
            queue.add(B, 5.0)
            await clock.advance(1.0)
            queue.drop_all()
            await clock.advance(100.0)
            assert work.begun == [(0.0, A)]
            assert (queue.done, queue.running, len(queue)) == (0, 0, 0)
            queue.add(A)
            await clock.advance(10.0)
            assert queue.done == 1

    asyncio.run(scenario())


def test_it_remembers_no_more_than_its_keys() -> None:
    """One key that is moved forward ten thousand times does not grow what is held."""

    async def scenario() -> None:
        async with running() as (clock, work, queue):
            work.then[A] = 600.0
            for _ in range(10_000):
                queue.add(A)
                if queue.running == 0:
                    await asyncio.sleep(0)
            await clock.advance(1.0)
            assert len(queue._heap) < 100

    asyncio.run(scenario())

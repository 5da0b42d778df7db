"""What has to be looked at, and when: each key once, by one worker at a time, later after each failure."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterator

from rolecall.core.backoff import delays
from rolecall.edges.clock import Clock, within
from rolecall.edges.metrics import count
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

Key = tuple[str, str]
"""Namespace and name."""
Work = Callable[[Key], Awaitable[float | None]]
"""Looks at a key; returns after how many seconds it is to be looked at again, None for not before it changes."""
FIRST, LONGEST = 1.0, 300.0
"""Seconds after a failure: up to these after the first, and at most: so long waits whoever has mended something."""


class Queue:
    """Runs `work` for keys. A key that is added often is looked at once; one that is added while it is being looked
    at, once more. `failures` are counted by their word."""

    def __init__(self, work: Work, *, workers: int, clock: Clock, dice: Callable[[], float], log: Log) -> None:
        self._work, self._workers = work, workers
        self._clock, self._dice, self._log = clock, dice, log
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._failed: dict[Key, Iterator[float]] = {}
        self._woken = asyncio.Event()
        self.done = 0
        self.failures: dict[str, int] = {}
        self.beat = clock.monotonic()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def running(self) -> int:
        """How many keys are being looked at now."""
        return len(self._running)

    @property
    def failing(self) -> int:
        """How many keys failed when they were looked at last."""
        return len(self._failed)

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have a key looked at after so many seconds, or when it is due anyway if that is sooner."""
        at = self._clock.monotonic() + after
        if self._due.get(key, float("inf")) <= at:
            return
        self._due[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._due) + 64:  # most of them are of keys that were moved forward since
            self._heap = [(at, key) for key, at in self._due.items()]
            heapq.heapify(self._heap)
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; what is under way then is cancelled too."""
        try:
            while True:
                self.beat = self._clock.monotonic()
                self._woken.clear()
                pause = self._begin_what_is_due()
                try:
                    await within(self._clock, pause, self._woken.wait())
                except TimeoutError:
                    continue
        finally:
            self.drop_all()

    def drop_all(self) -> None:
        """Forget all keys, and cancel what is under way."""
        for task in self._running.values():
            task.cancel()
        self._due.clear()
        self._heap.clear()
        self._failed.clear()

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, give what is under way so many seconds, and cancel what is left then."""
        self._workers = 0
        if under_way := list(self._running.values()):
            await asyncio.wait(under_way, timeout=seconds)
            self.drop_all()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _begin_what_is_due(self) -> float:
        """Begin, and return the seconds until there may be more to begin."""
        now, later = self._clock.monotonic(), []
        pause = 5.0
        while self._heap and len(self._running) < self._workers:
            at, key = self._heap[0]
            if self._due.get(key) != at:  # it was moved forward, or is done
                heapq.heappop(self._heap)
            elif at > now:
                pause = min(pause, at - now)
                break
            else:
                heapq.heappop(self._heap)
                if key in self._running:
                    later.append((at, key))  # its end wakes us
                    continue
                del self._due[key]
                self._running[key] = asyncio.create_task(self._run(key), name="controller.key")
        for entry in later:
            heapq.heappush(self._heap, entry)
        return pause

    async def _run(self, key: Key) -> None:
        try:
            after = await self._work(key)
            self._failed.pop(key, None)
            self.done += 1
        except RolecallError as error:
            after = self._after_failure(key, error.word)
        except Exception as error:  # noqa: BLE001 - a defect with one key must not end the others
            self._log.crash("controller.key_crashed", error, namespace=key[0], name=key[1])
            after = self._after_failure(key, "crash")
        finally:
            if self._running.get(key) is asyncio.current_task():
                del self._running[key]
            self._woken.set()
        if after is not None:
            self.add(key, after)

    def _after_failure(self, key: Key, word: str) -> float:
        count(self.failures, word)
        if key not in self._failed:
            self._failed[key] = delays(base=FIRST, cap=LONGEST, dice=self._dice, least=0.5)
        return next(self._failed[key])

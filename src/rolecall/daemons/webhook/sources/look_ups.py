"""Asking for one name, shared by all who ask at that time, and bounded.

A watch tells of a change a moment after it was made. Whoever finds nothing therefore asks, and must be given what
holds at that moment or later: a call that began before the question may have read what was there before. So at most
one call for a name is under way, and at most one waits behind it, which everybody shares who comes before it begins.

Where many names are asked for at once they take turns, for refusing one could cost a pod its role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rolecall.edges.clock import Clock, within
from rolecall.edges.limits import TokenBucket
from rolecall.errors import Upstream

Value = TypeVar("Value")
Name = tuple[str, str]
"""Namespace and name of a service account."""


@dataclass(frozen=True, slots=True)
class LookUpRules:
    """`most` calls are under way at once, `a_second` begin on average and as many more as a quiet time has saved up to
    `burst`; each has `seconds`. `waiting` names may wait for their turn, each for `patience` seconds.

    A pod without a role costs one, so they are as many as an API server creates pods, and few beside the work of that.
    """

    most: int = 16
    a_second: float = 400.0
    burst: float = 1000.0
    seconds: float = 2.0
    waiting: int = 1000
    patience: float = 5.0


class TooMany(Upstream):
    """There is no room for one more question now."""


class LookUps(Generic[Value]):
    """Calls `ask` for names. `calls` counts all that began, `answered` and `failed` how they ended, `refused` the names
    whose turn did not come."""

    def __init__(self, ask: Callable[[str, str], Awaitable[Value]], *, clock: Clock, rules: LookUpRules) -> None:
        self._ask, self._clock, self._rules = ask, clock, rules
        self._bucket = TokenBucket(rate=rules.a_second, burst=rules.burst, clock=clock)
        self._turns = asyncio.Semaphore(rules.most)
        self._waiting: dict[Name, asyncio.Task[Value]] = {}
        self._begun: dict[Name, asyncio.Task[Value]] = {}
        self.calls = self.answered = self.failed = self.refused = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._begun)

    async def __call__(self, namespace: str, name: str) -> Value:
        """Return the answer of a call that begins now or later. Raises `TooMany`, `Upstream`."""
        return await asyncio.shield(self._task((namespace, name)))  # who goes away takes nobody's answer along

    async def close(self) -> None:
        """End what is under way."""
        tasks = [*self._waiting.values(), *self._begun.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(self, key: Name) -> asyncio.Task[Value]:
        waiting = self._waiting.get(key)
        if waiting is not None:
            return waiting
        if len(self._waiting) >= self._rules.waiting:
            self.refused += 1
            raise _too_many()
        task = asyncio.create_task(self._call(key, self._begun.get(key)), name="webhook.look-up")
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody may be there to read it
        self._waiting[key] = task
        return task

    async def _call(self, key: Name, former: asyncio.Task[Value] | None) -> Value:
        this = asyncio.current_task()
        try:
            if former is not None:
                await asyncio.wait({former})
            await self._turn()
            try:
                # From here on nobody joins: what is read may be older than the question.
                self._begun[key] = self._waiting.pop(key)
                return await self._asked(key)
            finally:
                self._turns.release()
        finally:
            for tasks in (self._waiting, self._begun):
                if tasks.get(key) is this:
                    del tasks[key]

    async def _turn(self) -> None:
        """Wait for a turn, which the caller gives back; raises `TooMany` where it does not come in time."""
        try:
            await within(self._clock, self._rules.patience, self._take())
        except TimeoutError:
            self.refused += 1
            raise _too_many() from None

    async def _take(self) -> None:
        await self._turns.acquire()
        try:
            while not self._bucket.take():
                await self._clock.sleep(self._bucket.wait())
        except BaseException:
            self._turns.release()
            raise

    async def _asked(self, key: Name) -> Value:
        self.calls += 1
        try:
            found = await within(self._clock, self._rules.seconds, self._ask(*key))
        except TimeoutError:
            self.failed += 1
            raise Upstream(f"no answer about {'/'.join(key)} within {self._rules.seconds:g} s") from None
        except BaseException:
            self.failed += 1
            raise
        self.answered += 1
        return found


def _too_many() -> TooMany:
    return TooMany("too many service accounts are asked for at once", hint="it passes; see look_ups_total at /metrics")

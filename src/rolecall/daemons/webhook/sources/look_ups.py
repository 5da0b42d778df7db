"""Asking for one name, shared by all who ask at that time, and bounded.

A watch tells of a change a moment after it was made. Whoever finds nothing therefore asks, and must be given what
holds at that moment or later: a call that began before the question may have read what was there before. So at most
one call for a name is under way, and at most one waits behind it, which everybody shares who came meanwhile.
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
    """`most` calls at once, `a_second` on average and as many more as a quiet time has saved up to `burst`; a call
    has `seconds`."""

    most: int = 64
    a_second: float = 100.0
    burst: float = 500.0
    seconds: float = 2.0


class TooMany(Upstream):
    """There is no room for one more question now."""


@dataclass(slots=True)
class _Asked(Generic[Value]):
    running: asyncio.Task[Value]
    following: asyncio.Task[Value] | None = None


class LookUps(Generic[Value]):
    """Calls `ask` for names. `calls`, `failed` and `refused` count."""

    def __init__(self, ask: Callable[[str, str], Awaitable[Value]], *, clock: Clock, rules: LookUpRules) -> None:
        self._ask, self._clock, self._rules = ask, clock, rules
        self._bucket = TokenBucket(rate=rules.a_second, burst=rules.burst, clock=clock)
        self._asked: dict[Name, _Asked[Value]] = {}
        self.calls = self.failed = self.refused = 0

    def __len__(self) -> int:
        return len(self._asked)

    async def __call__(self, namespace: str, name: str) -> Value:
        """Return the answer of a call that begins now or later. Raises `TooMany`, `Upstream`."""
        return await asyncio.shield(self._task((namespace, name)))  # who goes away takes nobody's answer along

    async def close(self) -> None:
        """End what is under way."""
        tasks = [task for one in self._asked.values() for task in (one.running, one.following) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(self, key: Name) -> asyncio.Task[Value]:
        found = self._asked.get(key)
        if found is not None and found.following is not None:
            return found.following
        if (found is None and len(self._asked) >= self._rules.most) or not self._bucket.take():
            self.refused += 1
            raise TooMany("too many service accounts are asked for at once", hint="it passes; see look_ups_refused")
        task = asyncio.create_task(self._call(key, None if found is None else found.running), name="webhook.look-up")
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody may be there to read it
        if found is None:
            self._asked[key] = _Asked(task)
        else:
            found.following = task
        return task

    async def _call(self, key: Name, former: asyncio.Task[Value] | None) -> Value:
        if former is not None:
            await asyncio.wait({former})
        self.calls += 1
        try:
            return await within(self._clock, self._rules.seconds, self._ask(*key))
        except TimeoutError:
            self.failed += 1
            raise Upstream(f"no answer about {'/'.join(key)} within {self._rules.seconds:g} s") from None
        except BaseException:
            self.failed += 1
            raise
        finally:
            self._next(key)

    def _next(self, key: Name) -> None:
        """The one that waits is the one that runs now, and another may wait behind it."""
        found = self._asked.pop(key)
        if found.following is not None:
            self._asked[key] = _Asked(found.following)

"""Roles of pods that have just come, fetched before the pods ask: at a set rate, however many come at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from rolecall.core.grant import Refusal
from rolecall.core.source import Ask
from rolecall.daemons.agent.metadata.granted import Granted
from rolecall.daemons.agent.metadata.whose import Whose
from rolecall.edges.clock import Clock
from rolecall.edges.flights import key_of
from rolecall.errors import RolecallError
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.dialect import Dialect

_MOST_WAITING, _AT_ONCE = 4096, 16


class Prefetch:
    """Asks for `rate` roles a second, of the addresses that it is told of, the first first. `begin` once; `close` ends.

    Each is judged when its turn comes, as if the pod asked. A failure is nobody's here: the pod hears of it when it
    asks itself. `asked` counts the questions.
    """

    def __init__(self, whose: Whose, dialect: Dialect, granted: Granted, clock: Clock, rate: float) -> None:
        self._whose, self._dialect, self._granted = whose, dialect, granted
        self._clock, self._rate = clock, rate
        self._waiting: dict[str, None] = {}
        self._some = asyncio.Event()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked = 0

    def come(self, address: str) -> None:
        """Note that a pod has come to an address. Those over the bound ask for themselves."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[address] = None
            self._some.set()

    def begin(self) -> None:
        """Begin. Call it once, inside the running loop."""
        self._keep(self._run())

    async def close(self) -> None:
        """End it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="metadata.prefetch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            address = next(iter(self._waiting))
            del self._waiting[address]
            if not self._waiting:
                self._some.clear()
            found = self._whose.known(address)
            if found is not None and self._ask_of(address, found) is None:
                continue
            await self._room.acquire()
            self._keep(self._fetch(address))
            await self._clock.sleep(1.0 / self._rate)

    def _ask_of(self, address: str, found: Facts | Refusal) -> Ask | None:
        """Return what the pod would be granted; None where it is nothing, or is held."""
        if isinstance(found, Refusal):
            return None
        name = self._dialect.listing(found)
        if isinstance(name, Refusal) or not name:
            return None
        decision = self._dialect.decide(Asked("credentials", "", role=name), found)
        if isinstance(decision, Refusal):
            return None
        ask = Ask(peer=address, grant=decision, caller=found.caller)
        return ask if self._granted.cache.entry(key_of(ask)) is None else None

    async def _fetch(self, address: str) -> None:
        """Ask for the role of whoever is there, having waited for what is not known of them yet."""
        try:
            with suppress(RolecallError):
                ask = self._ask_of(address, await self._whose.facts(address))
                if ask is not None:
                    self.asked += 1
                    await self._granted(ask)
        finally:
            self._room.release()

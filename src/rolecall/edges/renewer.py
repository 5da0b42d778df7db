"""Renews what a cache holds ahead of need: at a bounded rate, what ends soonest first, and only what is used.

An agenda says when an entry is looked at next. What is due then, or was found due by a hit, waits in a queue until
the rate and the number of renewals under way allow it. All of it is measured in monotonic time.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from rolecall.core.backoff import delays
from rolecall.core.freshness import State
from rolecall.edges.cache_entry import Entries, Entry, Renewal
from rolecall.edges.cache_rules import CacheCounters, CacheRules
from rolecall.edges.clock import Clock
from rolecall.edges.flights import Flights, Key
from rolecall.edges.limits import TokenBucket
from rolecall.edges.telemetry import Log

_AFTER_A_CRASH = 1.0  # seconds until it tries again
_NOTHING_PLANNED = 3600.0  # seconds; whatever is planned earlier wakes it


class Renewer:
    """Launches the renewals of `entries` as `flights`; the cache tells it what landed."""

    def __init__(
        self,
        entries: Entries,
        flights: Flights,
        *,
        clock: Clock,
        dice: Callable[[], float],
        rules: CacheRules,
        counters: CacheCounters,
        log: Log,
    ) -> None:
        self._entries, self._flights = entries, flights
        self._clock, self._dice, self._rules = clock, dice, rules
        self._counters, self._log = counters, log
        self._agenda: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}  # with the end that the queue sorts them by
        self._queue: list[tuple[float, int, Key]] = []  # has everything due, and what was due before
        self._order = 0  # of equal times the first goes first; keys do not compare
        self._under_way: set[Key] = set()
        self._bucket = TokenBucket(rate=rules.service_qps, burst=max(1.0, rules.service_qps), clock=clock)
        self._task: asyncio.Task[None] | None = None
        self._nap: asyncio.Task[None] | None = None
        self._fault = ""

    def start(self) -> None:
        """Begin. Call it once, inside the running loop."""
        self._task = asyncio.create_task(self._run(), name="cache.renewer")

    async def close(self) -> None:
        """End it; the calls that it launched are the flights' to end."""
        tasks = [task for task in (self._task, self._nap) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fault(self) -> str:
        """Return what is wrong with it; an empty text where it works, or is not to work."""
        if self._task is not None and self._task.done() and not self._flights.closed:
            return "the renewer has ended"
        return self._fault

    def plan_of(self, entry: Entry) -> Renewal:
        """Return what is to become of an entry."""
        if entry.key in self._flights:
            return "under-way"
        if entry.key in self._due:
            return "queued"
        return "planned" if entry.used else "when-used"

    def plan(self, entry: Entry, when: float) -> None:
        """Look at an entry at that moment, and not at the one that was planned before."""
        entry.planned = when
        heapq.heappush(self._agenda, (when, self._next_order(), entry.key))
        if len(self._agenda) > 2 * len(self._entries) + 64:
            live = ((entry.planned, order, entry.key) for order, entry in enumerate(self._entries.values()))
            self._agenda = [item for item in live if item[0] != float("inf")]
            heapq.heapify(self._agenda)
        self._wake()

    def plan_again(self, entry: Entry) -> float:
        """Plan an entry whose renewal failed, later each time; return in how many seconds."""
        if entry.backoff is None:
            first, longest = self._rules.renew_first, self._rules.renew_longest
            entry.backoff = delays(base=first, cap=longest, dice=self._dice, least=0.5)
        wait = next(entry.backoff)
        entry.retry_at = self._clock.monotonic() + wait
        self.plan(entry, entry.retry_at)
        return wait

    def nudge(self, entry: Entry, now: float) -> None:
        """A hit found an entry due: queue it, or, when it is nearly over, ask now."""
        if entry.key in self._flights or self._flights.closed:
            return
        if entry.times.state(now) is State.STALE and not self._flights.full:
            self._begin(entry)
        elif entry.key not in self._due:
            self._enqueue(entry)
            self._wake()

    def landed(self, key: Key) -> None:
        """A call has ended, so that another may begin."""
        self._under_way.discard(key)
        self._wake()

    def _enqueue(self, entry: Entry) -> None:
        self._due[entry.key] = entry.ends_at
        heapq.heappush(self._queue, (entry.ends_at, self._next_order(), entry.key))
        if len(self._queue) > 2 * len(self._entries) + 64:
            self._due = {key: ends_at for key, ends_at in self._due.items() if key in self._entries}
            self._queue = [(ends_at, order, key) for order, (key, ends_at) in enumerate(self._due.items())]
            heapq.heapify(self._queue)

    def _begin(self, entry: Entry) -> None:
        self._due.pop(entry.key, None)
        self._under_way.add(entry.key)
        entry.planned = float("inf")  # until what it brings has landed
        self._flights.launch(entry.key, entry.ask)

    def _next_order(self) -> int:
        self._order += 1
        return self._order

    def _wake(self) -> None:
        if self._nap is not None:
            self._nap.cancel()

    async def _run(self) -> None:
        while not self._flights.closed:
            try:
                self._collect_due()
                self._renew_due()
                nap, self._fault = self._until_next(), ""
            except Exception as error:  # noqa: BLE001 - a defect here must not end all renewals in silence
                self._counters.renewer_crashes += 1
                self._fault = f"the renewer crashes ({type(error).__name__})"
                self._log.crash("cache.renewer_crashed", error)
                await self._clock.sleep(_AFTER_A_CRASH)
                continue
            self._nap = asyncio.create_task(self._clock.sleep(nap), name="cache.nap")
            await asyncio.wait([self._nap])

    def _collect_due(self) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        while self._agenda and self._agenda[0][0] <= monotonic:
            when, _, key = heapq.heappop(self._agenda)
            entry = self._entries.get(key)
            if entry is None or entry.planned != when:
                continue
            if entry.is_over(now, monotonic):
                self._entries.drop(key)
            elif entry.used:
                self._enqueue(entry)
            else:
                # Nobody came since it was last renewed: hold it to its end, a hit will renew it, also where the wall
                # clock was set back meanwhile.
                entry.renew_from(min(entry.times.renew_at, now))
                self.plan(entry, entry.over_at)

    def _renew_due(self) -> None:
        """Start what the bucket and the concurrency allow; what ends soonest goes first."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        while self._queue:
            ends_at, _, key = self._queue[0]
            entry = self._entries.get(key)
            if self._due.get(key) != ends_at:
                heapq.heappop(self._queue)  # it was begun by a hit
            elif entry is None or key in self._flights or entry.is_over(now, monotonic):
                heapq.heappop(self._queue)
                del self._due[key]
            elif len(self._under_way) >= self._rules.renewals or not self._bucket.take():
                return
            else:
                heapq.heappop(self._queue)
                self._begin(entry)

    def _until_next(self) -> float:
        if self._due:
            return _NOTHING_PLANNED if len(self._under_way) >= self._rules.renewals else self._bucket.wait()
        if not self._agenda:
            return _NOTHING_PLANNED
        return max(0.0, self._agenda[0][0] - self._clock.monotonic())

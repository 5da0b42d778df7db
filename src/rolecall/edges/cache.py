"""A source in front of a source: it holds credentials, and renews them before anything ends.

- **True LRU.** A hit counts as use; with the cache full, the entry unused longest goes.
- **One upstream call per question**, and failures are remembered briefly: `rolecall.edges.flights`.
- **Renewal comes ahead of need**, at a bounded rate, and only for what was asked for since the last time.
- **A valid credential is never lost** to an upstream that fails, and never served past its end.

Entries are found by digests; the token itself is kept only inside its `Secret`, to renew with. What ends a
credential is told in wall-clock time, so that is what ends an entry; but a wall clock can be set, so an entry
also ends after the life that it had when it came, and all waiting is measured in monotonic time.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

from rolecall.core.backoff import delays
from rolecall.core.freshness import DEFAULT_RULES, FreshnessRules, State, milestones
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges.cache_entry import Census, Entry, Held, Renewal, census, held, outlives
from rolecall.edges.clock import Clock
from rolecall.edges.flights import (
    DEFAULT_FLIGHTS,
    FlightCounters,
    FlightRules,
    Flights,
    Key,
    Outcome,
    code_of,
    key_of,
)
from rolecall.edges.limits import PerSource, TokenBucket
from rolecall.edges.metrics import count
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, Refused, ServiceError, UpstreamAnswered

# What EKS Auth says when the credentials must not be served any longer: there is no association, or the
# token is over (EKS Auth API Reference, AssumeRoleForPodIdentity, Errors).
_DEFINITIVE = frozenset({"ResourceNotFound", "ExpiredToken", "InvalidToken"})
_AMBIGUOUS = "AccessDenied"
# With this status every AWS service speaks of who signed, the node: its keys are over, and not the pod's token.
_ABOUT_THE_SIGNER = 403
_AFTER_A_CRASH = 1.0  # seconds until the renewer tries again
Told = Callable[[Ask, Outcome, bool], None]
"""Told of what an upstream call brought: the ask, the outcome, and whether it was a renewal. It must not raise."""


@dataclass(frozen=True, slots=True)
class CacheRules:
    """The bounds. Lengths are seconds.

    `size`: entries, and failures, remembered (0: nothing is remembered, calls are still shared).
    `service_qps`, `renewals`: renewals started a second, and running at once; an entry that is nearly over and
    asked for does not wait for either. `denied_grace`: how long an entry outlives an AccessDenied, which may
    be about the node and not about the pod. `renew_first`, `renew_longest`: the pauses after failed renewals.
    """

    size: int = 2000
    freshness: FreshnessRules = DEFAULT_RULES
    service_qps: float = 3.0
    renewals: int = 8
    denied_grace: float = 900.0
    renew_first: float = 2.0
    renew_longest: float = 60.0
    flights: FlightRules = DEFAULT_FLIGHTS


@dataclass(slots=True)
class CacheCounters(FlightCounters):
    """What has happened so far. Failed renewals count by code, and once more in `dropped` where they cost the entry."""

    hits: int = 0
    misses: int = 0
    renewals: int = 0
    evictions: int = 0
    renewer_crashes: int = 0
    renew_failures: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


def _never(_ask: Ask) -> float | None:
    return None


class CredentialCache:
    """A `Source` around a source. `start` begins the background renewals, `close` ends everything.

    `token_ends` reads, without believing it, when the token of an ask is over: an entry is dropped then.
    `per_source` limits how many questions one peer may send upstream; cached answers are not limited.
    `told` hears of every outcome of an upstream call. Raises what `Flights.ask` raises.
    """

    def __init__(
        self,
        source: Source,
        *,
        clock: Clock,
        dice: Callable[[], float],
        rules: CacheRules | None = None,
        token_ends: Callable[[Ask], float | None] = _never,
        per_source: PerSource | None = None,
        log: Log | None = None,
        told: Told | None = None,
    ) -> None:
        self._told = told
        self.rules = rules or CacheRules()
        self.counters = CacheCounters()
        self._clock, self._dice, self._log = clock, dice, log or Log()
        self._token_ends = token_ends
        self._flights = Flights(
            source,
            self._landed,
            clock=clock,
            dice=dice,
            rules=self.rules.flights,
            counters=self.counters,
            remembered=self.rules.size,
            per_source=per_source,
            log=self._log,
        )
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._agenda: list[tuple[float, int, Key]] = []
        self._agenda_order = 0
        self._revoked: dict[str, float] = {}
        self._all_revoked = float("-inf")
        self._due: dict[Key, None] = {}
        self._renewing: set[Key] = set()
        self._bucket = TokenBucket(rate=self.rules.service_qps, burst=max(1.0, self.rules.service_qps), clock=clock)
        self._renewer: asyncio.Task[None] | None = None
        self._renewer_fault = ""
        self._nap: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def held(self, ask: Ask) -> Issued | None:
        """Return what is held for this ask if it may be served now, without waiting for anything.

        This counts as a hit and as use, and starts a renewal where one is due.
        """
        return self.held_at(key_of(ask))

    def held_at(self, key: Key) -> Issued | None:
        """Return what `held` returns, for an ask whose key is known already."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if entry.is_over(now, monotonic):
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        entry.used = True
        entry.hits += 1
        self.counters.hits += 1
        if now >= entry.times.renew_at and monotonic >= entry.retry_at:
            self._nudge(key, entry, now)
        return entry.issued

    async def __call__(self, ask: Ask) -> Issued:
        """Return credentials: those held, those that an upstream call brings, or the error it brings."""
        issued = self.held(ask)
        if issued is not None:
            return issued
        self.counters.misses += 1
        return await self._flights.ask(key_of(ask), ask)

    def revoke(self, association_ids: Collection[str]) -> int:
        """Forget what was issued by these associations, also what is on its way; return how many were held.

        The next one who asks is answered by upstream, which knows what holds now.
        """
        now = self._clock.monotonic()
        self._revoked = {key: at for key, at in self._revoked.items() if now - at < self.rules.flights.seconds}
        self._revoked |= dict.fromkeys(association_ids, now)
        gone = [key for key, entry in self._entries.items() if entry.issued.association_id in association_ids]
        for key in gone:
            del self._entries[key]
        return len(gone)

    def revoke_all(self) -> int:
        """Forget everything that is held or on its way; return how many were held."""
        self._all_revoked = self._clock.monotonic()
        count, self._entries = len(self._entries), OrderedDict()
        return count

    def fault(self) -> str:
        """Return what is wrong with the renewer; an empty text where it works, or is not to work."""
        if self._renewer is not None and self._renewer.done() and not self._flights.closed:
            return "the renewer has ended"
        return self._renewer_fault

    def census(self) -> Census:
        """Return all entries in a few numbers."""
        return census(self._entries.values(), self._clock.now(), self._clock.monotonic())

    def survey(self) -> Iterator[Held]:
        """Yield every entry as it may be shown. The cache must not be used meanwhile."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for key, entry in self._entries.items():
            if not entry.is_over(now, monotonic):
                yield held(entry, self._renewal(key, entry), now, monotonic)

    def _renewal(self, key: Key, entry: Entry) -> Renewal:
        if key in self._flights:
            return "under-way"
        if key in self._due:
            return "queued"
        return "planned" if entry.used else "when-used"

    @property
    def failures(self) -> int:
        """How many failures are remembered."""
        return self._flights.remembered

    def forget_failures(self) -> int:
        """Forget all failures: whoever asks next is asked for upstream. Return how many there were."""
        return self._flights.forget_failures()

    def start(self) -> None:
        """Begin renewing in the background. Call it once, inside the running loop."""
        self._renewer = asyncio.create_task(self._renew_forever(), name="cache.renewer")

    async def close(self) -> None:
        """End the renewer and all upstream calls; whoever waits for one gets `Upstream`."""
        await self._flights.close()
        tasks = [task for task in (self._renewer, self._nap) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- holding ---------------------------------------------------------------------------------------

    def _landed(self, key: Key, ask: Ask, outcome: Outcome, wanted: bool) -> bool:
        """Keep what a call brought, and tell of it; return whether its failure is to be remembered."""
        renewal = key in self._entries
        try:
            return self._keep(key, ask, outcome, wanted)
        finally:
            if self._told is not None:
                self._told(ask, outcome, renewal)

    def _keep(self, key: Key, ask: Ask, outcome: Outcome, wanted: bool) -> bool:
        self._renewing.discard(key)
        self._wake()
        entry = self._entries.get(key)
        if not isinstance(outcome, Issued):
            return entry is None or self._drop_or_keep(key, entry, outcome)
        if entry is not None:
            self.counters.renewals += 1
        if entry is not None or wanted:  # one that was evicted while it was renewed has lost its place
            self._store(key, ask, outcome, renewed=entry)
        return False

    def _store(self, key: Key, ask: Ask, issued: Issued, *, renewed: Entry | None) -> None:
        revoked_at = self._revoked.get(issued.association_id, self._all_revoked)
        if self.rules.size <= 0 or self._flights.launched[key] <= revoked_at:
            return
        now, monotonic = self._clock.now(), self._clock.monotonic()
        kept = renewed if renewed is not None and outlives(renewed, issued, now, monotonic) else None
        issued = issued if kept is None else kept.issued
        times = milestones(now, issued.credentials.expires_at, self.rules.freshness, self._dice())
        token_ends = self._token_ends(ask)
        ends_at = times.dead_at if token_ends is None else min(times.dead_at, token_ends)
        # A renewal is not a use. Replacing in place keeps a renewed entry where its last use put it.
        entry = Entry(ask, issued, times, ends_at, monotonic + ends_at - now, came_at=monotonic)
        if kept is not None:  # it becomes no younger: neither its end moves, nor its age begins again
            entry.ends_at, entry.over_at, entry.came_at = kept.ends_at, kept.over_at, kept.came_at
        entry.used, entry.hits = renewed is None, 0 if renewed is None else renewed.hits
        self._entries[key] = entry
        while len(self._entries) > self.rules.size:
            self._entries.popitem(last=False)
            self.counters.evictions += 1
        self._schedule(key, entry, monotonic + times.renew_at - now)

    def _drop_or_keep(self, key: Key, entry: Entry, error: Exception) -> bool:
        """A renewal failed: the entry stays unless upstream said that it must not be served. Return if dropped."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        count(self.counters.renew_failures, code_of(error))
        entry.last_error = code_of(error)
        if _is_ambiguous(error):  # the first one counts: later ones cannot move the end further away
            entry.over_at = min(entry.over_at, monotonic + self.rules.denied_grace)
        if _is_definitive(error) or entry.is_over(now, monotonic):
            del self._entries[key]
            count(self.counters.dropped, code_of(error))
            self._log.info("cache.dropped", code=code_of(error))
            return True
        if entry.backoff is None:
            first, longest = self.rules.renew_first, self.rules.renew_longest
            entry.backoff = delays(base=first, cap=longest, dice=self._dice, least=0.5)
        wait = next(entry.backoff)
        entry.retry_at = monotonic + wait
        self._schedule(key, entry, entry.retry_at)
        self._log.warning("cache.renewal_failed", code=code_of(error), retry_in=round(wait, 1))
        return False

    # --- renewing --------------------------------------------------------------------------------------

    def _nudge(self, key: Key, entry: Entry, now: float) -> None:
        """A hit found the entry due: queue it, or, when it is nearly over, ask now."""
        if key in self._flights or self._flights.closed:
            return
        if entry.times.state(now) is State.STALE and not self._flights.full:
            self._begin_renewal(key, entry)
        elif key not in self._due:
            self._due[key] = None
            self._wake()

    def _begin_renewal(self, key: Key, entry: Entry) -> None:
        self._due.pop(key, None)
        self._renewing.add(key)
        entry.planned = float("inf")  # until `_landed` schedules it again
        self._flights.launch(key, entry.ask)

    def _schedule(self, key: Key, entry: Entry, when: float) -> None:
        entry.planned = when
        self._agenda_order += 1
        heapq.heappush(self._agenda, (when, self._agenda_order, key))
        if len(self._agenda) > 2 * len(self._entries) + 64:
            live = [(e.planned, n, k) for n, (k, e) in enumerate(self._entries.items())]
            self._agenda = [item for item in live if item[0] != float("inf")]
            heapq.heapify(self._agenda)
        self._wake()

    def _wake(self) -> None:
        if self._nap is not None:
            self._nap.cancel()

    async def _renew_forever(self) -> None:
        while not self._flights.closed:
            try:
                self._collect_due()
                self._renew_due()
                nap, self._renewer_fault = self._until_next(), ""
            except Exception as error:  # noqa: BLE001 - a defect here must not end all renewals in silence
                self.counters.renewer_crashes += 1
                self._renewer_fault = f"the renewer crashes ({type(error).__name__})"
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
                del self._entries[key]
            elif entry.used:
                self._due[key] = None
            else:
                # Nobody came since it was last renewed: hold it to its end, a hit will renew it, also where the wall
                # clock was set back meanwhile.
                entry.times = replace(entry.times, renew_at=min(entry.times.renew_at, now))
                self._schedule(key, entry, entry.over_at)

    def _renew_due(self) -> None:
        """Start what the bucket and the concurrency allow; what ends soonest goes first."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for key in list(self._due):
            entry = self._entries.get(key)
            if entry is None or key in self._flights or entry.is_over(now, monotonic):
                del self._due[key]
        for key in sorted(self._due, key=lambda key: self._entries[key].ends_at):
            if len(self._renewing) >= self.rules.renewals or not self._bucket.take():
                return
            self._begin_renewal(key, self._entries[key])

    def _until_next(self) -> float:
        if self._due:
            return 3600.0 if len(self._renewing) >= self.rules.renewals else self._bucket.wait()
        if not self._agenda:
            return 3600.0
        return max(0.0, self._agenda[0][0] - self._clock.monotonic())


def _is_definitive(error: Exception) -> bool:
    """Whether the error says that the pod has no right to credentials any more."""
    if isinstance(error, UpstreamAnswered | ServiceError):
        return _word(error) in _DEFINITIVE and error.status != _ABOUT_THE_SIGNER
    return isinstance(error, Refused | BadInput)


def _is_ambiguous(error: Exception) -> bool:
    """Whether the error may be about the pod, and may be about the node that asked."""
    if not isinstance(error, UpstreamAnswered | ServiceError):
        return False
    return _word(error) == _AMBIGUOUS or (_word(error) in _DEFINITIVE and error.status == _ABOUT_THE_SIGNER)


def _word(error: UpstreamAnswered | ServiceError) -> str:
    return error.code.removesuffix("Exception")

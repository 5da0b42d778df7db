"""A source in front of a source: it remembers, asks once for many, and renews before anything ends.

- **True LRU.** A hit counts as use; with the cache full, the entry unused longest goes.
- **One upstream call per question.** The call is a task of the cache, not of any caller: a caller that
  goes away cancels nothing, and all who wait get the same result or the same error.
- **Failures are remembered briefly**, longer each time, so that a crash-looping client costs few calls.
- **A valid credential is never lost** to an upstream that fails, and never served past its end.

Entries are found by digests; the token itself is kept only inside its `Secret`, to renew with.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rolecall.core.backoff import delays
from rolecall.core.freshness import DEFAULT_RULES, FreshnessRules, Milestones, State, milestones
from rolecall.core.names import ClusterName, RoleArn
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges.clock import Clock
from rolecall.edges.limits import PerSource, TokenBucket
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, Refused, RolecallError, ServiceError, Upstream, UpstreamAnswered

Key = tuple[bytes, ClusterName | None, RoleArn | None, str]

# What EKS Auth says when the credentials must not be served any longer: there is no association, or the
# token is over (EKS Auth API Reference, AssumeRoleForPodIdentity, Errors).
_DEFINITIVE = frozenset({"ResourceNotFound", "ExpiredToken", "InvalidToken"})
_AMBIGUOUS = "AccessDenied"
_MOST_CODES = 64


@dataclass(frozen=True, slots=True)
class CacheRules:
    """The bounds. Lengths are seconds.

    `size`: entries, and failures, remembered (0: nothing is remembered, calls are still shared).
    `service_qps`, `renewals`: renewals started a second, and running at once. `flights`: questions asked
    upstream at once; `flight_seconds`: how long one may take. `denied_grace`: how long an entry outlives
    an AccessDenied, which may be about the node and not about the pod. The last four are the first and
    the longest time for which a final and a passing failure are remembered.
    """

    size: int = 2000
    freshness: FreshnessRules = DEFAULT_RULES
    service_qps: float = 3.0
    renewals: int = 8
    flights: int = 1000
    flight_seconds: float = 30.0
    denied_grace: float = 900.0
    final_first: float = 1.0
    final_longest: float = 30.0
    passing_first: float = 0.5
    passing_longest: float = 5.0
    renew_first: float = 2.0
    renew_longest: float = 60.0


@dataclass(slots=True)
class CacheCounters:
    """What has happened so far. `upstream` counts answers by code: ``ok``, AWS's code, or a kind of error."""

    hits: int = 0
    misses: int = 0
    denials: int = 0
    renewals: int = 0
    evictions: int = 0
    upstream_calls: int = 0
    upstream: dict[str, int] = field(default_factory=dict)
    renew_failures: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Entry:
    ask: Ask
    issued: Issued
    times: Milestones
    token_ends: float
    used: bool = True
    next_at: float = 0.0
    denied_at: float | None = None
    backoff: Iterator[float] | None = None

    @property
    def ends_at(self) -> float:
        return min(self.times.dead_at, self.token_ends)


@dataclass(slots=True)
class _Denial:
    error: Exception
    until: float
    final: bool
    backoff: Iterator[float]


def key_of(ask: Ask) -> Key:
    """Return what makes two asks the same question. Without a token, who asks is where it asks from."""
    if ask.token is None:
        return (b"", ask.cluster, ask.role, ask.peer)
    return (ask.token.digest(), ask.cluster, ask.role, "")


def code_of(error: Exception) -> str:
    """Return the word that a failure is counted under: AWS's code, or the kind of error."""
    if isinstance(error, UpstreamAnswered | ServiceError):
        return error.code
    return type(error).__name__


def _never(_ask: Ask) -> float | None:
    return None


class CredentialCache:
    """A `Source` around a source. `start` begins the background renewals, `close` ends everything.

    `token_ends` reads, without believing it, when the token of an ask is over: an entry is dropped then.
    `per_source` limits how many questions one peer may send upstream; cached answers are not limited.
    Raises what the source raised; `ServiceError` 429 to a peer over its limit; `Upstream` while closing.
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
    ) -> None:
        self.rules = rules or CacheRules()
        self.counters = CacheCounters()
        self._source = source
        self._clock = clock
        self._dice = dice
        self._token_ends = token_ends
        self._per_source = per_source
        self._log = log or Log()
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._denials: OrderedDict[Key, _Denial] = OrderedDict()
        self._flights: dict[Key, asyncio.Task[Issued | Exception]] = {}
        self._agenda: list[tuple[float, int, Key]] = []
        self._agenda_order = 0
        self._due: dict[Key, None] = {}
        self._renewing: set[Key] = set()
        self._bucket = TokenBucket(rate=self.rules.service_qps, burst=max(1.0, self.rules.service_qps), clock=clock)
        self._renewer: asyncio.Task[None] | None = None
        self._nap: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def held(self, ask: Ask) -> Issued | None:
        """Return what is held for this ask if it may be served now, without waiting for anything.

        This counts as a hit and as use, and starts a renewal where one is due.
        """
        key = key_of(ask)
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._clock.now()
        if now >= entry.ends_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        entry.used = True
        self.counters.hits += 1
        if now >= entry.times.renew_at and now >= entry.next_at:
            self._nudge(key, entry, now)
        return entry.issued

    async def __call__(self, ask: Ask) -> Issued:
        """Return credentials: those held, those that an upstream call brings, or the error it brings."""
        issued = self.held(ask)
        if issued is not None:
            return issued
        key = key_of(ask)
        flight = self._flights.get(key)
        if flight is None:
            self._refuse_early(key, ask)
            flight = self._launch(key, ask)
        self.counters.misses += 1
        outcome = await asyncio.shield(flight)
        if isinstance(outcome, Issued):
            return outcome
        raise outcome.with_traceback(None)

    def start(self) -> None:
        """Begin renewing in the background. Call it once, inside the running loop."""
        self._renewer = asyncio.create_task(self._renew_forever(), name="cache.renewer")

    async def close(self) -> None:
        """End the renewer and all upstream calls; whoever waits for one gets `Upstream`."""
        self._closed = True
        tasks: list[asyncio.Task[object]] = [*self._flights.values()]
        tasks += [task for task in (self._renewer, self._nap) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- asking upstream -------------------------------------------------------------------------------

    def _refuse_early(self, key: Key, ask: Ask) -> None:
        denial = self._denials.get(key)
        if denial is not None and self._clock.now() < denial.until:
            self._denials.move_to_end(key)
            self.counters.denials += 1
            raise denial.error.with_traceback(None)
        if self._closed:
            raise Upstream("the agent is stopping")
        if self._per_source is not None and not self._per_source.take(ask.peer):
            raise ServiceError("TooManyRequests", "Too Many Requests", status=429)
        if len(self._flights) >= self.rules.flights:
            raise ServiceError("ServiceUnavailable", "too many questions are waiting for EKS Auth", status=503)

    def _launch(self, key: Key, ask: Ask) -> asyncio.Task[Issued | Exception]:
        flight = asyncio.create_task(self._fly(key, ask), name="cache.flight")
        self._flights[key] = flight
        return flight

    async def _fly(self, key: Key, ask: Ask) -> Issued | Exception:
        """Ask upstream and settle what comes back. It returns errors, so that none goes unretrieved."""
        self.counters.upstream_calls += 1
        outcome: Issued | Exception
        try:
            async with asyncio.timeout(self.rules.flight_seconds):
                outcome = await self._source(ask)
            if outcome.credentials.expires_at <= self._clock.now():
                outcome = Upstream("fetched credentials are expired")
        except asyncio.CancelledError:
            self._flights.pop(key, None)
            return Upstream("the agent is stopping")
        except TimeoutError:
            outcome = Upstream(f"EKS Auth gave no answer within {self.rules.flight_seconds:g} seconds")
        except RolecallError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a defect must reach every waiter, and be logged once
            self._log.crash("cache.source_crashed", error)
            outcome = error
        del self._flights[key]
        self._settle(key, ask, outcome)
        return outcome

    def _settle(self, key: Key, ask: Ask, outcome: Issued | Exception) -> None:
        if isinstance(outcome, Issued):
            _count(self.counters.upstream, "ok")
            self._denials.pop(key, None)
            self._store(key, ask, outcome)
            return
        _count(self.counters.upstream, code_of(outcome))
        entry = self._entries.get(key)
        if entry is None:
            self._remember_denial(key, outcome)
        else:
            self._keep_or_drop(key, entry, outcome)

    def _remember_denial(self, key: Key, error: Exception) -> None:
        final = isinstance(error, RolecallError) and not error.retryable
        denial = self._denials.get(key)
        rules = self.rules
        if denial is None or denial.final != final:
            first, longest = (
                (rules.final_first, rules.final_longest) if final else (rules.passing_first, rules.passing_longest)
            )
            backoff = delays(base=first, cap=longest, dice=self._dice, least=0.5)
            denial = self._denials[key] = _Denial(error, 0.0, final, backoff)
        denial.error = error
        denial.until = self._clock.now() + next(denial.backoff)
        self._denials.move_to_end(key)
        while len(self._denials) > rules.size:
            self._denials.popitem(last=False)

    # --- holding ---------------------------------------------------------------------------------------

    def _store(self, key: Key, ask: Ask, issued: Issued) -> None:
        now = self._clock.now()
        held = self._entries.get(key)
        token_ends = self._token_ends(ask)
        entry = _Entry(
            ask=ask,
            issued=issued,
            times=milestones(now, issued.credentials.expires_at, self.rules.freshness, self._dice()),
            token_ends=float("inf") if token_ends is None else token_ends,
            used=held is None,  # a renewal is not a use
        )
        # Replacing in place keeps a renewed entry where its last use put it.
        self._entries[key] = entry
        while len(self._entries) > self.rules.size:
            self._entries.popitem(last=False)
            self.counters.evictions += 1
        if key in self._entries:
            self._schedule(key, entry, entry.times.renew_at)

    def _keep_or_drop(self, key: Key, entry: _Entry, error: Exception) -> None:
        """A renewal failed: the entry stays unless upstream said that it must not be served."""
        now = self._clock.now()
        code = code_of(error).removesuffix("Exception")
        _count(self.counters.renew_failures, code_of(error))
        if code == _AMBIGUOUS and entry.denied_at is None:
            entry.denied_at = now
        gone = code in _DEFINITIVE or isinstance(error, Refused | BadInput)
        graced = entry.denied_at is not None and now - entry.denied_at < self.rules.denied_grace
        if gone or (code == _AMBIGUOUS and not graced):
            del self._entries[key]
            self._remember_denial(key, error)
            self._log.info("cache.dropped", code=code_of(error), kept=False)
            return
        if entry.backoff is None:
            first, longest = self.rules.renew_first, self.rules.renew_longest
            entry.backoff = delays(base=first, cap=longest, dice=self._dice, least=0.5)
        wait = next(entry.backoff)
        self._schedule(key, entry, now + wait)
        self._log.warning("cache.renewal_failed", code=code_of(error), retry_in=round(wait, 1), kept=True)

    # --- renewing --------------------------------------------------------------------------------------

    def _nudge(self, key: Key, entry: _Entry, now: float) -> None:
        """A hit found the entry due: queue it, or, when it is nearly over, ask now."""
        if key in self._flights or self._closed:
            return
        if entry.times.state(now) is State.STALE:
            self._begin_renewal(key, entry)
        elif key not in self._due:
            self._due[key] = None
            self._wake()

    def _begin_renewal(self, key: Key, entry: _Entry) -> None:
        self._due.pop(key, None)
        self._renewing.add(key)
        entry.next_at = float("inf")  # until `_settle` schedules it again
        before = entry.issued

        def landed(_task: asyncio.Task[Issued | Exception]) -> None:
            self._renewing.discard(key)
            after = self._entries.get(key)
            if after is not None and after.issued is not before:
                self.counters.renewals += 1
            self._wake()

        self._launch(key, entry.ask).add_done_callback(landed)

    def _schedule(self, key: Key, entry: _Entry, when: float) -> None:
        entry.next_at = when
        self._agenda_order += 1
        heapq.heappush(self._agenda, (when, self._agenda_order, key))
        if len(self._agenda) > 2 * len(self._entries) + 64:
            live = [(e.next_at, n, k) for n, (k, e) in enumerate(self._entries.items())]
            self._agenda = [item for item in live if item[0] != float("inf")]
            heapq.heapify(self._agenda)
        if self._agenda[0][2] == key:
            self._wake()

    def _wake(self) -> None:
        if self._nap is not None:
            self._nap.cancel()

    async def _renew_forever(self) -> None:
        while not self._closed:
            self._collect_due()
            self._renew_due()
            self._nap = asyncio.create_task(self._clock.sleep(self._until_next()), name="cache.nap")
            await asyncio.wait([self._nap])

    def _collect_due(self) -> None:
        now = self._clock.now()
        while self._agenda and self._agenda[0][0] <= now:
            when, _, key = heapq.heappop(self._agenda)
            entry = self._entries.get(key)
            if entry is None or entry.next_at != when:
                continue
            if now >= entry.ends_at:
                del self._entries[key]
            elif entry.used:
                self._due[key] = None
            else:
                # Nobody came since it was last renewed: hold it to its end, a hit will renew it.
                self._schedule(key, entry, entry.ends_at)

    def _renew_due(self) -> None:
        """Start what the bucket and the concurrency allow; what ends soonest goes first."""
        for key in [key for key in self._due if key not in self._entries or key in self._flights]:
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
        return max(0.0, self._agenda[0][0] - self._clock.now())


def _count(counts: dict[str, int], code: str) -> None:
    """Count a code; codes come from outside, so only so many different ones are told apart."""
    if code not in counts and len(counts) >= _MOST_CODES:
        code = "other"
    counts[code] = counts.get(code, 0) + 1

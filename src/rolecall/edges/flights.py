"""Asking upstream: one call for each question, however many ask it, and a brief memory of failures.

- **One upstream call per question.** The call is a task of its own and not any caller's: a caller that goes
  away cancels nothing, and all who wait get the same result or the same error.
- **Failures are remembered briefly**, longer each time, so that a crash-looping client costs few calls.

Questions are known by digests of their tokens; a failure's memory holds no token at all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rolecall.core.backoff import delays
from rolecall.core.grant import Grant
from rolecall.core.names import ClusterName, RoleArn
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges.clock import Clock, within
from rolecall.edges.limits import PerSource
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, ServiceError, Upstream

Key = tuple[bytes, ClusterName | None, RoleArn | None, str]
Outcome = Issued | Exception
Landed = Callable[[Key, Ask, Outcome, bool], bool]
"""Told of every outcome before its waiters are: key, ask, outcome, and whether anybody waits for it. Returns
whether a failure is to be remembered."""

_STOPPING = "the agent is stopping"


class NoAnswer(Upstream):
    """The call took longer than it may."""

    @property
    def word(self) -> str:
        """What a client of HTTP calls it."""
        return "timeout"


@dataclass(frozen=True, slots=True)
class FlightRules:
    """The bounds of asking. Lengths are seconds.

    `most`: questions asked upstream at once; `seconds`: how long one may take. A failure that the same call
    will not mend is remembered for `final_first` at first and `final_longest` at most; one that may pass by
    itself for `passing_first` and `passing_longest`. `upstream` is who is asked, for messages.
    """

    most: int = 1000
    seconds: float = 30.0
    final_first: float = 1.0
    final_longest: float = 30.0
    passing_first: float = 0.5
    passing_longest: float = 5.0
    upstream: str = "EKS Auth"


DEFAULT_FLIGHTS = FlightRules()


@dataclass(slots=True)
class FlightCounters:
    """What has happened so far: failures that were told again, questions that were asked."""

    denials: int = 0
    upstream_calls: int = 0


@dataclass(slots=True)
class _Denial:
    error: Exception
    until: float  # monotonic: a clock that is set must not make a failure last
    final: bool
    backoff: Iterator[float]


def key_of(ask: Ask) -> Key:
    """Return what makes two asks the same question.

    Without a token, who asks is where it asks from. A granted session is asked for with all that STS is told, and for
    one caller: neither another external id nor another pod is given it.
    """
    if ask.grant is not None:
        return (b"grant", None, ask.grant.role, _told_of(ask.grant, ask.caller.id if ask.caller else ""))
    if ask.token is None:
        return (b"", ask.cluster, ask.role, ask.peer)
    return (ask.token.digest(), ask.cluster, ask.role, "")


def _told_of(grant: Grant, caller: str) -> str:
    """Return what a grant has beside its role. No name of a session, external id or caller has a line break."""
    session = grant.hops[-1].session
    external_id = "" if session.external_id is None else session.external_id
    return "\n".join((session.name, external_id, str(session.duration), repr(sorted(session.tags.items())), caller))


def code_of(error: Exception) -> str:
    """Return the word that a failure is counted under: AWS's code, or the kind of error."""
    return error.word if isinstance(error, RolecallError) else type(error).__name__


class Flights:
    """The questions that are being asked, by key, and the failures of the last seconds.

    At most `remembered` failures are kept. `per_source` limits how many questions one peer may send upstream.
    """

    def __init__(
        self,
        source: Source,
        landed: Landed,
        *,
        clock: Clock,
        dice: Callable[[], float],
        rules: FlightRules,
        counters: FlightCounters,
        remembered: int,
        per_source: PerSource | None,
        log: Log,
    ) -> None:
        self.rules, self.counters = rules, counters
        self.closed = False
        self._source, self._landed = source, landed
        self._clock, self._dice, self._log = clock, dice, log
        self._most_remembered, self._per_source = remembered, per_source
        self._flying: dict[Key, asyncio.Task[Outcome]] = {}
        self._wanted: set[Key] = set()
        self.launched: dict[Key, float] = {}
        self._denials: OrderedDict[Key, _Denial] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._flying

    @property
    def remembered(self) -> int:
        """How many failures are remembered."""
        return len(self._denials)

    def forget_failures(self) -> int:
        """Forget all failures, so that whoever asks next is asked for upstream; return how many there were."""
        count = len(self._denials)
        self._denials.clear()
        return count

    @property
    def full(self) -> bool:
        """Whether as many questions are being asked as may be."""
        return len(self._flying) >= self.rules.most

    async def ask(self, key: Key, ask: Ask) -> Issued:
        """Return what the call for this question brings, joining one that is under way.

        Raises what the source raised, now or a moment ago; `ServiceError` 429 to a peer over its limit and 503
        with too many questions under way; `Upstream` for a call that took too long, or while closing.
        """
        flight = self._flying.get(key)
        if flight is None:
            self._refuse_early(key, ask)
            flight = self.launch(key, ask)
        self._wanted.add(key)
        outcome = await asyncio.shield(flight)
        if isinstance(outcome, Issued):
            return outcome
        raise outcome.with_traceback(None)

    def launch(self, key: Key, ask: Ask) -> asyncio.Task[Outcome]:
        """Begin the call for a question that nobody asks yet; the task returns errors, it raises none."""
        flight = asyncio.create_task(self._fly(key, ask), name="cache.flight")
        self._flying[key] = flight
        self.launched[key] = self._clock.monotonic()
        return flight

    async def close(self) -> None:
        """End all calls; whoever waits for one gets `Upstream`."""
        self.closed = True
        await asyncio.sleep(0)  # a call that was launched just now begins, so that it can tell its waiters
        flights = list(self._flying.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _refuse_early(self, key: Key, ask: Ask) -> None:
        if self.closed:
            raise Upstream(_STOPPING)
        denial = self._denials.get(key)
        if denial is not None and self._clock.monotonic() < denial.until:
            self._denials.move_to_end(key)
            self.counters.denials += 1
            raise denial.error.with_traceback(None)
        if self._per_source is not None and not self._per_source.take(ask.peer):
            raise ServiceError("TooManyRequests", "Too Many Requests", status=429)
        if self.full:
            raise ServiceError(
                "ServiceUnavailable", f"too many questions are waiting for {self.rules.upstream}", status=503
            )

    async def _fly(self, key: Key, ask: Ask) -> Outcome:
        """Ask, and settle what comes of it. `launched` says until then when the question was put."""
        self.counters.upstream_calls += 1
        outcome = await self._outcome(ask)
        del self._flying[key]
        wanted = key in self._wanted
        self._wanted.discard(key)
        if self.closed:
            return outcome
        try:
            remember = self._landed(key, ask, outcome, wanted)
        except Exception as error:  # noqa: BLE001 - a defect in keeping must not cost the waiters their answer
            self._log.crash("cache.keeping_crashed", error)
            remember = False
        self.launched.pop(key, None)
        if isinstance(outcome, Issued):
            self._denials.pop(key, None)
        elif remember:
            self._remember(key, outcome)
        return outcome

    async def _outcome(self, ask: Ask) -> Outcome:
        try:
            issued = await within(self._clock, self.rules.seconds, self._source(ask))
        except asyncio.CancelledError:
            return Upstream(_STOPPING if self.closed else f"the call to {self.rules.upstream} was given up")
        except TimeoutError:
            return NoAnswer(f"{self.rules.upstream} gave no answer within {self.rules.seconds:g} seconds")
        except RolecallError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a defect must reach every waiter, and be logged once
            self._log.crash("cache.source_crashed", error)
            return error
        if issued.credentials.expires_at <= self._clock.now():
            return Upstream("fetched credentials are expired")
        return issued

    def _remember(self, key: Key, error: Exception) -> None:
        final = isinstance(error, RolecallError) and not error.retryable
        denial = self._denials.get(key)
        if denial is None or denial.final != final:
            rules = self.rules
            first, longest = (
                (rules.final_first, rules.final_longest) if final else (rules.passing_first, rules.passing_longest)
            )
            backoff = delays(base=first, cap=longest, dice=self._dice, least=0.5)
            denial = self._denials[key] = _Denial(error, 0.0, final, backoff)
        denial.error = error
        denial.until = self._clock.monotonic() + next(denial.backoff)
        self._denials.move_to_end(key)
        while len(self._denials) > self._most_remembered:
            self._denials.popitem(last=False)

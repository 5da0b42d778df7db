"""Asking upstream: shared calls, remembered failures, bounds. All in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from rolecall.core.caller import AtPodIp
from rolecall.core.grant import Grant, Hop
from rolecall.core.names import ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.records import PodFacts
from rolecall.core.secrets import Secret
from rolecall.core.session import SessionSpec
from rolecall.core.source import Ask, Issued
from rolecall.edges.flights import FlightCounters, FlightRules, Flights, NoAnswer, key_of
from rolecall.edges.limits import PerSource
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured, ServiceError, Upstream, UpstreamAnswered
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

FINAL = UpstreamAnswered(status=404, code="ResourceNotFoundException", message="no association")
PASSING = UpstreamAnswered(status=503, code="ServiceUnavailableException", message="later")


class World:
    """Flights over a scripted source; `landed` keeps nothing and has every failure remembered."""

    def __init__(self, *, rules: FlightRules | None = None, per_source: bool = False, remembered: int = 100) -> None:
        self.clock = FakeClock()
        self.source = FakeSource(self.clock)
        self.counters = FlightCounters()
        self.landings: list[tuple[object, bool]] = []
        self.flights = Flights(
            self.source,
            self._landed,
            clock=self.clock,
            dice=lambda: 1.0,
            rules=rules or FlightRules(),
            counters=self.counters,
            remembered=remembered,
            per_source=PerSource(rate=1.0, burst=2.0, clock=self.clock) if per_source else None,
            log=Log(),
        )

    def _landed(self, _key: object, _ask: Ask, outcome: Issued | Exception, wanted: bool) -> bool:
        self.landings.append((outcome, wanted))
        return True

    def begin(self, name: str = "pod", peer: str = "10.0.0.1") -> asyncio.Task[Issued]:
        """Start asking as a client would."""
        return asyncio.create_task(self.ask(name, peer))

    async def ask(self, name: str = "pod", peer: str = "10.0.0.1") -> Issued:
        """Ask and wait."""
        ask = Ask(token=Secret(f"token-of-{name}"), peer=peer)
        return await self.flights.ask(key_of(ask), ask)


def play(scene: Callable[[World], Awaitable[None]], world: World | None = None) -> World:
    """Run a scene in a loop of its own."""

    async def run() -> World:
        found = world or World()
        await scene(found)
        return found

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("failure", "delay", "expected"),
    [
        pytest.param(None, 2.5, Issued, id="success"),
        pytest.param(PASSING, 0.9, UpstreamAnswered, id="error"),
        pytest.param(ZeroDivisionError("a defect"), 0.9, ZeroDivisionError, id="crash"),
        pytest.param(None, 1e9, NoAnswer, id="no answer"),
    ],
)
def test_fifty_callers_are_one_upstream_call(failure: Exception | None, delay: float, expected: type) -> None:
    """Callers who come while a question is being asked share its one call, and its outcome."""

    async def scene(world: World) -> None:
        world.source.failure, world.source.delay = failure, delay
        early = [world.begin(peer=f"10.0.0.{n}") for n in range(25)]
        await world.clock.advance(min(delay, 30.0) * 0.9)
        late = [world.begin(peer=f"10.0.1.{n}") for n in range(25)]
        await world.clock.advance(30.0)
        outcomes = await asyncio.gather(*early, *late, return_exceptions=True)
        assert len(world.source.asked) == world.counters.upstream_calls == 1
        assert {type(outcome) for outcome in outcomes} == {expected}
        assert len({id(outcome) for outcome in outcomes}) == 1
        assert world.source.under_way == 0, "a call that took too long is given up, not forgotten"
        assert [wanted for _, wanted in world.landings] == [True]

    play(scene)


def test_the_first_callers_death_cancels_nothing() -> None:
    """Who waits on is served, also when whoever asked first, or everybody, has gone away."""

    async def scene(world: World) -> None:
        world.source.delay = 2.0
        first, second = world.begin(), world.begin()
        await world.clock.advance(1.0)
        first.cancel()
        await world.clock.advance(1.5)
        assert (await second).assumed_role_id.endswith(":s1")
        with pytest.raises(asyncio.CancelledError):
            await first
        alone = world.begin("other")
        await world.clock.advance(1.0)
        alone.cancel()
        await world.clock.advance(2.0)
        assert isinstance(world.landings[1][0], Issued), "it lands for the next one who asks"
        assert world.source.given_up == 0

    play(scene)


@pytest.mark.parametrize(
    ("failure", "gaps"),
    [
        pytest.param(FINAL, [1, 2, 4, 8, 16, 30, 30], id="final"),
        pytest.param(Misconfigured("no keys"), [1, 2, 4, 8, 16, 30, 30], id="final, ours"),
        pytest.param(PASSING, [0.5, 1, 2, 4, 5, 5, 5], id="passing"),
        pytest.param(Upstream("no route"), [0.5, 1, 2, 4, 5, 5, 5], id="passing, no answer"),
        pytest.param(ZeroDivisionError(), [0.5, 1, 2, 4, 5, 5, 5], id="crash"),
    ],
)
def test_failures_are_remembered_with_growing_pauses(failure: Exception, gaps: list[float]) -> None:
    """A client in a crash loop, asking ten times a second, costs few calls, and always hears the error."""

    async def scene(world: World) -> None:
        world.source.failure = failure
        asked = 0
        while len(world.source.asked) <= len(gaps):
            with pytest.raises(type(failure)):
                await world.ask()
            asked += 1
            await world.clock.advance(0.125)
        times = world.source.asked_at
        assert [later - earlier for earlier, later in itertools.pairwise(times)] == gaps
        assert world.counters.denials == asked - len(times)

    play(scene)


def test_success_forgets_the_failures_before_it() -> None:
    """After a success the next failure is a first one again."""

    async def scene(world: World) -> None:
        for failure in (FINAL, FINAL, FINAL, None, FINAL, FINAL):
            world.source.failure = failure
            await asyncio.gather(world.ask(), return_exceptions=True)
            await world.clock.advance(31.0 if failure is None or len(world.source.asked) < 4 else 1.0)
        assert len(world.source.asked) == 6

    play(scene)


def test_a_wall_clock_that_is_set_does_not_make_a_failure_last() -> None:
    """Pauses are measured in monotonic time: a clock set back a day does not lock a pod out for a day."""

    async def scene(world: World) -> None:
        world.source.failure = FINAL
        with pytest.raises(UpstreamAnswered):
            await world.ask()
        world.source.failure = None
        world.clock.step(-86_400.0)
        with pytest.raises(UpstreamAnswered):
            await world.ask()
        await world.clock.advance(1.0)
        assert await world.ask()

    play(scene)


def test_credentials_that_are_over_on_arrival_are_a_failure() -> None:
    """Expired credentials are handed to nobody, in the words of AWS's agent (aws-pod-identity.md §1.5)."""

    async def scene(world: World) -> None:
        world.source.life = 0.0
        with pytest.raises(Upstream, match=r"^fetched credentials are expired$"):
            await world.ask()

    play(scene)


def test_one_flooding_peer_is_told_to_wait_and_nobody_else_is() -> None:
    """Over its limit a peer gets 429 without an upstream call; others, and its own shared questions, go on."""

    async def scene(world: World) -> None:
        world.source.delay = 1.0
        first, second = world.begin("a"), world.begin("b")
        await world.clock.advance(0.0)
        with pytest.raises(ServiceError) as caught:
            await world.ask("c")
        assert (caught.value.status, caught.value.message) == (429, "Too Many Requests")
        shared, neighbour = world.begin("a"), world.begin("c", peer="10.0.0.2")
        await world.clock.advance(1.0)
        assert await asyncio.gather(first, second, shared, neighbour)
        assert len(world.source.asked) == 3
        assert await asyncio.gather(world.begin("c"), world.clock.advance(1.0)), "a refusal is not remembered"

    play(scene, World(per_source=True))


def test_too_many_questions_at_once_are_refused_with_503() -> None:
    """The calls under way are bounded, and room is made as they end."""

    async def scene(world: World) -> None:
        world.source.delay = 1.0
        tasks = [world.begin(f"{n}") for n in range(3)]
        await world.clock.advance(0.5)
        with pytest.raises(ServiceError) as caught:
            await world.ask("another")
        assert caught.value.status == 503
        await world.clock.advance(1.0)
        assert await asyncio.gather(*tasks, world.begin("another"), world.clock.advance(1.0))

    play(scene, World(rules=FlightRules(most=3)))


def test_closing_tells_everyone_who_waits() -> None:
    """Waiters get `Upstream` at once, also those whose call had not even begun; so does whoever comes later."""

    async def scene(world: World) -> None:
        world.source.delay = 1000.0
        tasks = [world.begin() for _ in range(3)]
        await world.clock.advance(1.0)
        tasks.append(world.begin("just now"))
        await asyncio.sleep(0)
        await world.flights.close()
        for task in tasks:
            with pytest.raises(Upstream, match="stopping"):
                await task
        with pytest.raises(Upstream, match="stopping"):
            await world.ask("later")
        await asyncio.sleep(0)
        assert world.source.under_way == 0
        assert world.landings == []

    play(scene)


def test_a_source_that_cancels_itself_is_a_failure_like_others() -> None:
    """Nobody is left thinking that it was cancelled itself."""

    async def scene(world: World) -> None:
        world.source.failure = lambda _ask: asyncio.CancelledError()  # type: ignore[assignment,return-value]
        with pytest.raises(Upstream, match="given up"):
            await world.ask()
        assert len(world.landings) == 1

    play(scene)


def test_only_so_many_failures_are_remembered() -> None:
    """Many tokens do not fill the memory."""

    async def scene(world: World) -> None:
        for n in range(100):
            world.source.failure = UpstreamAnswered(status=400, code=f"Code{n}", message="no")
            await asyncio.gather(world.ask(f"{n}"), return_exceptions=True)
        await asyncio.gather(world.ask("99"), return_exceptions=True)
        assert len(world.source.asked) == 100, "the latest is remembered"
        await asyncio.gather(world.ask("0"), return_exceptions=True)
        assert len(world.source.asked) == 101, "the earliest is not"

    play(scene, World(remembered=10))


def test_a_defect_in_keeping_does_not_cost_the_waiters_their_answer() -> None:
    """Credentials that were fetched are handed on even where they cannot be kept."""

    async def scene(world: World) -> None:
        world.flights._landed = lambda *_: 1 // 0  # type: ignore[assignment]
        assert (await world.ask()).assumed_role_id.endswith(":s1")

    play(scene)


TOKEN, OTHER = Secret("a.b.c"), Secret("a.b.d")
CLUSTER = ClusterName.parse("one")
ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/demo")


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        pytest.param(Ask(TOKEN, peer="10.0.0.1"), Ask(Secret("a.b.c"), peer="10.0.0.2"), True, id="peers of one token"),
        pytest.param(Ask(TOKEN), Ask(OTHER), False, id="tokens"),
        pytest.param(Ask(TOKEN), Ask(TOKEN, cluster=CLUSTER), False, id="clusters"),
        pytest.param(Ask(TOKEN), Ask(TOKEN, role=ROLE), False, id="roles"),
        pytest.param(Ask(peer="10.0.0.1"), Ask(peer="10.0.0.2"), False, id="peers without token"),
        pytest.param(Ask(peer="10.0.0.1"), Ask(peer="10.0.0.1"), True, id="a peer without token"),
    ],
)
def test_what_makes_two_asks_one_question(one: Ask, two: Ask, same: bool) -> None:
    """Credentials of one question must never answer another; a key shows no token."""
    assert (key_of(one) == key_of(two)) is same
    assert "a.b.c" not in repr(key_of(one))


def test_a_granted_session_is_a_question_of_its_own() -> None:
    """What STS is told makes another one, and so does another caller; where a caller is seen from does not."""
    role = RoleArn.parse("arn:aws:iam::123456789012:role/r")
    pod = PodFacts(ClusterName("c"), Namespace("n"), "p", "uid-1", ServiceAccountName("s"), "node")
    spec = SessionSpec("session", 3600)

    def ask(spec: SessionSpec = spec, role: RoleArn = role, pod: PodFacts = pod, peer: str = "10.0.0.1") -> Ask:
        return Ask(peer=peer, grant=Grant((Hop(role, spec),), ("why",)), caller=AtPodIp(peer, pod))

    others = [
        ask(replace(spec, external_id="one")),
        ask(replace(spec, external_id="two")),
        ask(replace(spec, name="another")),
        ask(replace(spec, duration=7200)),
        ask(replace(spec, tags={"a": "b"})),
        ask(role=RoleArn.parse("arn:aws:iam::123456789012:role/path/r")),
        ask(pod=replace(pod, uid="uid-2")),
        Ask(peer="10.0.0.1", role=role),
    ]
    assert len({key_of(found) for found in (ask(), *others)}) == len(others) + 1
    assert key_of(ask()) == key_of(ask(peer="fd00::1"))

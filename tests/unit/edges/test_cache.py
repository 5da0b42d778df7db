"""Holding and renewing credentials. All in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from rolecall.core.freshness import FreshnessRules
from rolecall.core.grant import Refusal
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_entry import Census
from rolecall.edges.cache_rules import CacheRules
from rolecall.edges.flights import FlightRules
from rolecall.edges.limits import PerSource
from rolecall.errors import BadInput, Misconfigured, Refused, ServiceError, Upstream, UpstreamAnswered
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

HOUR = 3600.0


def answered(code: str, status: int) -> UpstreamAnswered:
    """Return an error of EKS Auth's."""
    return UpstreamAnswered(status=status, code=code, message="because")


class BreakableClock(FakeClock):
    """A clock that fails to tell the time as long as it is broken."""

    broken = False

    def now(self) -> float:
        """Tell the time."""
        if self.broken:
            raise ZeroDivisionError("a token, for example")
        return super().now()


class World:
    """A cache over a scripted source of credentials that live an hour."""

    def __init__(
        self, *, dice: float = 0.0, per_source: bool = False, token_ends: float | None = None, **rules: object
    ) -> None:
        self.clock = BreakableClock()
        self.source = FakeSource(self.clock, life=HOUR)
        self.told: list[tuple[str, Issued | Exception, bool]] = []
        self.cache = CredentialCache(
            self.source,
            clock=self.clock,
            dice=lambda: dice,
            rules=replace(CacheRules(), **rules),  # type: ignore[arg-type]
            token_ends=lambda _ask: None if token_ends is None else self.clock._start + token_ends,
            per_source=PerSource(rate=1.0, burst=2.0, clock=self.clock) if per_source else None,
            told=lambda ask, outcome, renewal: self.told.append((ask.peer, outcome, renewal)),
        )

    def held(self, name: str = "pod") -> str | None:
        """Look at what is held, as a client that asks would; return the number of its session."""
        found = self.cache.held(Ask(token=Secret(name)))
        return None if found is None else found.assumed_role_id.partition(":")[2]

    async def ask(self, name: str = "pod", peer: str = "10.0.0.1") -> Issued:
        """Ask and wait."""
        return await self.cache(Ask(token=Secret(name), peer=peer))

    @property
    def calls(self) -> int:
        """How often upstream was asked."""
        return len(self.source.asked)


def play(scene: Callable[[World], Awaitable[None]], world: Callable[[], World] = World) -> None:
    """Run a scene in a loop of its own, with the renewals going on; the cache is closed at its end."""

    async def run() -> None:
        found = world()
        found.cache.start()
        try:
            await scene(found)
        finally:
            await found.cache.close()
        assert found.source.under_way == 0

    asyncio.run(run())


# --- holding -------------------------------------------------------------------------------------------


def test_a_hit_counts_as_use() -> None:
    """True LRU: with the cache full the entry unused longest goes, not the oldest (aws-pod-identity.md §1.6)."""

    async def scene(world: World) -> None:
        for name in ("hot", "cold", "new"):
            await world.ask(name)
            assert world.held("hot")
        assert world.held("hot") == "s1"
        assert world.held("cold") is None
        assert world.held("new") == "s3"
        assert (len(world.cache), world.cache.counters.evictions) == (2, 1)

    play(scene, lambda: World(size=2))


def test_a_renewal_is_not_a_use() -> None:
    """An entry keeps the place that its last use gave it; one evicted while it is renewed does not come back."""

    async def scene(world: World) -> None:
        await world.ask("older")
        await world.clock.advance(10.0)
        await world.ask("newer")
        world.source.delay = 5.0
        await world.clock.advance(HOUR / 2 - 10.0 + 1.0)  # "older" is being renewed now
        assert world.source.under_way == 1
        world.source.delay = 1.0
        await asyncio.gather(world.ask("third"), world.clock.advance(20.0))
        assert world.held("older") is None
        assert world.held("newer")
        assert world.held("third")
        assert world.cache.counters.renewals == 1, "only newer's, though older's came back as well"

    play(scene, lambda: World(size=2))


def test_size_0_remembers_nothing_and_still_shares() -> None:
    """Neither credentials nor failures are kept; callers at the same moment share one call."""

    async def scene(world: World) -> None:
        await world.ask()
        await world.ask()
        assert (world.calls, len(world.cache), world.cache.counters.evictions) == (2, 0, 0)
        world.source.failure, world.source.delay = answered("ResourceNotFoundException", 404), 1.0
        for _ in range(2):
            found = await asyncio.gather(
                *(world.ask() for _ in range(50)), world.clock.advance(1.0), return_exceptions=True
            )
            assert sum(isinstance(one, UpstreamAnswered) for one in found) == 50
        assert world.calls == 4

    play(scene, lambda: World(size=0))


def test_cached_answers_are_not_limited() -> None:
    """A peer's limit is about questions that go upstream; what is held is served to it without end."""

    async def scene(world: World) -> None:
        for _ in range(1000):
            await world.ask("a")
        await world.ask("b")
        with pytest.raises(ServiceError, match="Too Many Requests"):
            await world.ask("c")
        assert await world.ask("a")
        assert await world.ask("c", peer="10.0.0.2")

    play(scene, lambda: World(per_source=True))


def test_it_counts_what_happens() -> None:
    """Hits, misses and questions upstream: what an operator looks at."""

    async def scene(world: World) -> None:
        for name in ("a", "a", "a", "b"):
            await world.ask(name)
        world.source.failure = answered("ThrottlingException", 429)
        with pytest.raises(UpstreamAnswered):
            await world.ask("c")
        counted = world.cache.counters
        assert (counted.hits, counted.misses, counted.upstream_calls) == (2, 3, 3)

    play(scene)


# --- the end of an entry -------------------------------------------------------------------------------


def test_nothing_is_served_past_its_end() -> None:
    """With upstream failing all along, credentials are served to within 15 seconds of expiry, not beyond."""

    async def scene(world: World) -> None:
        await world.ask()
        world.source.failure = Upstream("no route")
        last = 0.0
        for _ in range(4000):
            await world.clock.advance(1.0)
            if world.held():
                last = world.clock.monotonic()
        assert last == HOUR - 16.0, "the last whole second before"
        with pytest.raises(Upstream):
            await world.ask()
        world.source.failure = None
        await world.clock.advance(5.0)
        assert await world.ask(), "it recovers by itself"

    play(scene)


def test_nothing_is_served_past_the_tokens_end() -> None:
    """The token's exp ends the entry, whatever is left of the credentials."""

    async def scene(world: World) -> None:
        await world.ask()
        await world.clock.advance(599.9)
        assert world.held()
        await world.clock.advance(0.1)
        assert world.held() is None

    play(scene, lambda: World(token_ends=600.0))


@pytest.mark.parametrize(
    ("step", "then", "served"),
    [
        pytest.param(-7200.0, HOUR - 20.0, True, id="back, before the end"),
        pytest.param(-7200.0, HOUR - 10.0, False, id="back, after the real end"),
        pytest.param(-7200.0 * 24, HOUR - 10.0, False, id="back two days"),
        pytest.param(+1800.0, 0.0, True, id="forward, before the end"),
        pytest.param(+3600.0, 0.0, False, id="forward past the end"),
    ],
)
def test_a_clock_that_is_set_never_makes_an_entry_live_longer(step: float, then: float, served: bool) -> None:
    """Whichever is sooner ends an entry: its expiry by the wall clock, or the life that it came with."""

    async def scene(world: World) -> None:
        await world.ask()
        world.clock.step(step)
        world.source.failure = Upstream("no route")  # so that nothing is renewed
        await world.clock.advance(then)
        assert (world.held() is not None) is served

    play(scene)


def test_renewals_go_on_after_the_clock_was_set_back() -> None:
    """What was planned is measured in monotonic time: a clock set back by a day does not stop it for a day."""

    async def scene(world: World) -> None:
        await world.ask()
        world.clock.step(-86_400.0)
        await world.clock.advance(HOUR / 2)
        assert world.held() == "s2"

    play(scene)


def test_a_hit_after_the_clock_went_forward_renews() -> None:
    """A laptop that slept: its monotonic clock stood still, its credentials did not."""

    async def scene(world: World) -> None:
        await world.ask()
        world.clock.step(HOUR / 2 + 1.0)
        assert world.held() == "s1"
        await world.clock.advance(0.0)
        assert world.held() == "s2"

    play(scene)


# --- renewing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dice", [0.0, 1.0])
@pytest.mark.parametrize("life", [20.0, 900.0, HOUR, 6 * HOUR])
def test_renewal_comes_ahead_of_need(life: float, dice: float) -> None:
    """A client that asks now and then never waits again, and never gets less than a good part of a life.

    AWS's agent renews credentials of an hour when they are over. SDKs ask again 10 to 15 minutes before the
    end, so that such credentials made every call of theirs a fetch (aws-pod-identity.md §1.6, §1.14).
    """

    async def scene(world: World) -> None:
        world.source.life, world.source.delay = life, 0.0
        await world.ask()
        least = life
        for _ in range(400):
            await world.clock.advance(life / 40.0)
            least = min(least, (await world.ask()).credentials.expires_at - world.clock.now())
        assert world.cache.counters.misses == 1
        assert least > 0.45 * life
        assert world.calls <= 10 / (0.5 * 0.9) + 2

    play(scene, lambda: World(dice=dice))


def test_what_nobody_asks_for_is_not_renewed() -> None:
    """A pod that is gone costs one renewal at most (#171 of AWS's agent); a hit later still renews."""

    async def scene(world: World) -> None:
        await world.ask("gone")
        await world.ask("quiet")
        await world.clock.advance(HOUR * 1.25)
        assert world.calls == 4, "each was renewed once, at half its life, and not again"
        assert world.held("quiet") == "s4"
        await world.clock.advance(0.0)
        assert (world.calls, world.held("quiet")) == (5, "s5")
        await world.clock.advance(HOUR)
        assert world.held("gone") is None
        assert world.calls == 6

    play(scene)


def test_renewals_are_bounded_in_rate_and_number() -> None:
    """200 entries due at once are all renewed, at 3 a second and 8 at a time; AWS's agent managed 2 a minute."""

    async def scene(world: World) -> None:
        for n in range(200):
            await world.ask(f"pod-{n}")
        world.source.delay = 4.0
        await world.clock.advance(HOUR / 2 + 180.0)
        times = world.source.asked_at[200:]
        assert len(times) == 200 == world.cache.counters.renewals
        assert world.source.most_under_way == 8
        for first in range(0, 200, 7):
            for last in range(first, 200, 11):
                assert last - first + 1 <= 3 + 3 * (times[last] - times[first]) + 1e-6

    play(scene)


def test_renewals_fill_the_rate_that_they_may_have() -> None:
    """With an upstream that answers at once the rate is the bound: 200 entries are through in 67 seconds."""

    async def scene(world: World) -> None:
        for n in range(200):
            await world.ask(f"pod-{n}")
        await world.clock.advance(HOUR / 2 + 67.0)
        assert world.cache.counters.renewals == 200

    play(scene)


def test_what_ends_sooner_is_renewed_sooner() -> None:
    """Of the entries that wait for their turn the one with least left goes first."""

    async def scene(world: World) -> None:
        world.source.life = 4 * HOUR
        await world.ask("long")
        await world.clock.advance(HOUR)
        world.source.life = 2 * HOUR
        await world.ask("short")
        world.source.asked.clear()
        world.cache._renewer._bucket.take()  # the one token of the bucket: both are due when the next one comes
        await world.clock.advance(8100.0)
        assert [ask.token for ask in world.source.asked][:2] == [Secret("short"), Secret("long")]

    play(scene, lambda: World(service_qps=1 / 4000))


def test_an_entry_that_is_nearly_over_does_not_wait_for_its_turn() -> None:
    """A hit on a stale entry asks upstream now, past rate and number of the others."""

    async def scene(world: World) -> None:
        await world.ask("first")
        await world.ask("second")
        await world.clock.advance(HOUR / 2)
        assert world.calls == 3, "the bucket had one"
        await world.clock.advance(HOUR / 4 - 1.0)
        assert world.held("second") == "s2"
        await world.clock.advance(0.5)
        assert world.calls == 3
        await world.clock.advance(1.0)
        assert world.held("second") == "s2"
        await world.clock.advance(0.0)
        assert world.held("second") == "s4"

    play(scene, lambda: World(service_qps=1e-6))


def test_stale_entries_all_hit_at_once_stay_within_the_number_of_calls() -> None:
    """Nothing starts more calls upstream than may be under way."""

    async def scene(world: World) -> None:
        for n in range(50):
            await world.ask(f"pod-{n}")
        await world.clock.advance(HOUR * 0.8)
        world.source.delay = 1.0
        for n in range(50):
            assert world.held(f"pod-{n}")
        await world.clock.advance(0.0)
        assert world.source.under_way == 5

    play(scene, lambda: World(service_qps=1e-6, flights=FlightRules(most=5)))


# --- renewals that fail --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(answered("ThrottlingException", 429), id="throttled"),
        pytest.param(answered("InternalServerException", 500), id="500"),
        pytest.param(answered("ServiceUnavailableException", 503), id="503"),
        pytest.param(answered("InvalidRequestException", 400), id="a 400 that says nothing of the pod"),
        pytest.param(answered("UnrecognizedClientException", 403), id="the node's key is wrong"),
        pytest.param(Upstream("no route"), id="unreachable"),
        pytest.param(Misconfigured("the node has no credentials"), id="no node credentials"),
        pytest.param(ZeroDivisionError("a defect"), id="crash"),
        pytest.param(None, id="no answer at all"),
    ],
)
def test_a_valid_credential_survives(failure: Exception | None) -> None:
    """It is served through every failure that is not about the pod, tried again, and replaced in the end."""

    async def scene(world: World) -> None:
        await world.ask()
        world.source.failure, world.source.delay = failure, 0.0 if failure else 1e9
        for _ in range(60):
            await world.clock.advance(50.0)
            assert world.held() == "s1"
        pauses = [later - before for before, later in zip(world.source.asked_at, world.source.asked_at[1:], strict=0)]
        assert len(pauses) >= 15
        assert max(pauses[1:]) <= 60.0 + 30.0, "back-off, and the time that one call may take"
        world.source.failure, world.source.delay = None, 0.0
        await world.clock.advance(95.0)
        assert world.held() not in (None, "s1")

    play(scene, lambda: World(dice=1.0))


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(answered("ResourceNotFoundException", 404), id="no association"),
        pytest.param(answered("ExpiredTokenException", 400), id="token expired"),
        pytest.param(answered("InvalidTokenException", 400), id="token invalid"),
        pytest.param(ServiceError("ResourceNotFoundException", "no association", status=404), id="our own server"),
        pytest.param(Refused(Refusal("no-association", "There is none.", "Add one.")), id="refused"),
        pytest.param(BadInput("the issuer is no cluster's"), id="bad input"),
    ],
)
def test_a_credential_goes_at_once_when_its_right_is_gone(failure: Exception) -> None:
    """Not a second after upstream said so; who asks hears why, without another call."""

    async def scene(world: World) -> None:
        await world.ask()
        world.source.failure = failure
        await world.clock.advance(HOUR / 2)
        assert world.held() is None
        with pytest.raises(type(failure)):
            await world.ask()
        assert world.calls == 2

    play(scene)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(answered("AccessDeniedException", 400), id="denied"),
        pytest.param(answered("AccessDeniedException", 403), id="denied by IAM"),
        # "The security token included in the request is expired" (AWS common errors): the signer's, not the pod's.
        pytest.param(answered("ExpiredTokenException", 403), id="the node's session expired"),
    ],
)
def test_an_ambiguous_denial_is_borne_for_15_minutes(failure: Exception) -> None:
    """It may be about the node: 900 seconds of grace from the first one, whatever else fails meanwhile."""

    async def scene(world: World) -> None:
        world.source.life = 6 * HOUR
        await world.ask()
        world.source.failure = failure
        await world.clock.advance(3 * HOUR)
        assert world.calls == 2
        world.source.failure = Upstream("no route")
        await world.clock.advance(400.0)
        world.source.failure = failure
        await world.clock.advance(499.0)
        assert world.held() == "s1"
        await world.clock.advance(1.0)
        assert world.held() is None
        with pytest.raises(UpstreamAnswered):
            await world.ask()

    play(scene)


def test_a_success_ends_the_grace() -> None:
    """A denial that passed is forgotten: the next one has its 15 minutes again."""

    async def scene(world: World) -> None:
        world.source.life = 6 * HOUR
        await world.ask()
        denied = world.source.failure = answered("AccessDeniedException", 400)
        await world.clock.advance(3 * HOUR + 600.0)
        world.source.failure = None
        await world.clock.advance(60.0)
        assert world.held() not in (None, "s1")
        world.source.failure = denied
        await world.clock.advance(3 * HOUR + 800.0)
        assert world.held()

    play(scene)


def test_closing_ends_everything_and_what_is_held_is_still_served() -> None:
    """Requests under way during a stop are answered out of the cache; the others hear that we stop."""

    async def scene(world: World) -> None:
        await world.ask("held")
        world.source.delay = 100.0
        waiting = asyncio.create_task(world.ask("asked"))
        await world.clock.advance(HOUR / 2)
        assert world.source.under_way == 1
        await world.cache.close()
        with pytest.raises(Upstream):
            await waiting
        assert await world.ask("held")
        await world.clock.advance(10.0)
        assert world.source.under_way == 0
        assert world.clock.sleepers == 0

    play(scene)


# --- being seen ----------------------------------------------------------------------------------------


def test_every_outcome_of_a_call_is_told_once() -> None:
    """However many waited for it; of whom it was, and whether it renewed something. Hits are no outcomes."""

    async def scene(world: World) -> None:
        first, *_ = await asyncio.gather(*(world.ask() for _ in range(50)))
        assert world.held()
        await world.clock.advance(HOUR / 2)
        failure = world.source.failure = answered("AccessDeniedException", 400)
        with pytest.raises(UpstreamAnswered):
            await world.ask("other", peer="10.0.0.2")
        assert world.told[0] == ("10.0.0.1", first, False)
        assert [(peer, renewal) for peer, _, renewal in world.told] == [
            ("10.0.0.1", False), ("10.0.0.1", True), ("10.0.0.2", False),
        ]  # fmt: skip
        assert world.told[2][1] is failure

    play(scene)


def test_a_failed_renewal_is_counted_by_what_it_cost() -> None:
    """One that the entry survives, and one that it does not."""

    async def scene(world: World) -> None:
        await world.ask()
        world.source.failure = answered("ThrottlingException", 429)
        await world.clock.advance(HOUR / 2)
        world.source.failure = answered("ResourceNotFoundException", 404)
        await world.clock.advance(60.0)
        counted = world.cache.counters
        assert counted.dropped == {"ResourceNotFoundException": 1}
        assert set(counted.renew_failures) == {"ThrottlingException", "ResourceNotFoundException"}

    play(scene)


def test_a_renewer_that_crashes_says_so_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """While it crashes the cache has a fault; once it works again there is none, and what was due is renewed."""

    async def scene(world: World) -> None:
        await world.ask()
        assert world.cache.fault() == ""
        world.clock.broken = True
        await world.clock.advance(HOUR / 2 + 10.0)
        assert "ZeroDivisionError" in world.cache.fault()
        assert world.cache.counters.renewer_crashes >= 5, "it tried again and again"
        world.clock.broken = False
        await world.clock.advance(2.0)
        assert world.cache.fault() == ""
        assert world.held() == "s2"

    play(scene)
    crashes = [record for record in caplog.records if record.getMessage() == "cache.renewer_crashed"]
    assert crashes
    assert "a token" not in str([record.fields for record in crashes])  # type: ignore[attr-defined]


def test_a_renewer_that_ended_is_a_fault() -> None:
    """Whatever ended it; at the end of the cache itself it is none."""

    async def scene(world: World) -> None:
        (renewer,) = [task for task in asyncio.all_tasks() if task.get_name() == "cache.renewer"]
        renewer.cancel()
        await asyncio.gather(renewer, return_exceptions=True)
        assert world.cache.fault() == "the renewer has ended"
        await world.cache.close()
        assert world.cache.fault() == ""

    play(scene)


def test_entries_can_be_looked_at() -> None:
    """Age, end and next renewal as they are; looking is no use, and shows nothing that opens a door."""

    async def scene(world: World) -> None:
        await world.ask("used", peer="10.0.0.9")
        await world.clock.advance(600.0)
        assert world.held("used")
        await world.ask("young")
        used, young = world.cache.survey()
        assert (used.peer, used.state, used.age, used.ends_in, used.hits) == ("10.0.0.9", "fresh", 600.0, 2985.0, 1)
        assert (used.renewal, used.renews_in, used.last_error) == ("planned", HOUR / 2 - 600.0, "")
        assert (young.age, young.renews_in, young.hits) == (0.0, HOUR / 2, 0)
        assert "secret" not in repr([used, young])
        found = world.cache.census()
        assert (dict(found.states), found.oldest, found.soonest_end) == ({"fresh": 2}, 600.0, 2985.0)
        world.source.failure = answered("ThrottlingException", 429)
        await world.clock.advance(HOUR / 2 - 600.0)
        failed = next(world.cache.survey())
        assert (failed.state, failed.last_error, failed.renewal) == ("renew", "ThrottlingException", "planned")
        world.source.failure = None
        await world.clock.advance(300.0)
        renewed = next(world.cache.survey())
        assert (renewed.state, renewed.last_error, renewed.hits) == ("fresh", "", 1)
        await world.clock.advance(HOUR / 2)
        assert [one.renewal for one in world.cache.survey()] == ["when-used", "when-used"]
        await world.clock.advance(HOUR)
        assert list(world.cache.survey()) == []
        assert world.cache.census() == Census({}, None, None)

    play(scene)


def test_the_soonest_end_is_of_what_is_in_use() -> None:
    """An entry that nobody came for since its renewal ends in peace, and must not wake anybody."""

    async def scene(world: World) -> None:
        await world.ask("idle")
        await world.clock.advance(HOUR / 2)  # it is renewed once, and then left
        await world.clock.advance(HOUR / 2)
        await world.ask("busy")
        found = world.cache.census()
        assert found.states == {"renew": 1, "fresh": 1}
        assert found.soonest_end == HOUR - 15.0

    play(scene)


def test_a_revocation_of_everything_counts_also_after_one_of_an_association() -> None:
    """What is on its way when everything is revoked is not kept, though its association was revoked before."""

    async def scene(world: World) -> None:
        issued = await world.ask()
        world.cache.revoke({issued.association_id})
        await world.clock.advance(1.0)
        world.source.delay = 2.0
        asked = asyncio.create_task(world.ask())
        await world.clock.advance(1.0)
        world.cache.revoke_all()
        await world.clock.advance(2.0)
        assert await asked
        assert world.held() is None

    play(scene)


def test_what_waits_for_its_renewal_is_bounded_by_what_is_held() -> None:
    """Entries that were evicted while they were due leave nothing behind in the queue, also behind one that stays."""

    async def scene(world: World) -> None:
        await world.ask("first")
        world.source.life = 2 * HOUR
        for number in range(200):
            await world.ask(f"pod-{number}")
            await world.clock.advance(2.0)
            assert world.held(f"pod-{number}")  # due, and nothing may be renewed
            assert world.held("first")
        renewer = world.cache._renewer
        assert "first" in {entry.ask.token.reveal() for entry in world.cache._entries.values() if entry.ask.token}
        assert max(len(renewer._queue), len(renewer._due), len(renewer._agenda)) <= 2 * 2 + 64 + 1

    play(scene, lambda: World(size=2, renewals=0, freshness=FreshnessRules(renewal_ttl=1.0)))


def test_forgetting_failures_lets_a_mended_pod_in() -> None:
    """At its next try, and not after the back-off."""

    async def scene(world: World) -> None:
        world.source.failure = answered("ResourceNotFoundException", 404)
        with pytest.raises(UpstreamAnswered):
            await world.ask()
        world.source.failure = None
        with pytest.raises(UpstreamAnswered):
            await world.ask()
        assert world.cache.failures == 1
        assert world.cache.forget_failures() == 1
        assert await world.ask()
        assert world.cache.failures == 0

    play(scene)

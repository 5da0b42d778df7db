"""Credentials that are issued for a time: kept, renewed ahead, never lost to a failure. Time is virtual."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from rolecall.core.secrets import Secret
from rolecall.edges.aws.node_credentials import Lease, NoNodeCredentials, SigningKey
from rolecall.edges.aws.renewed import AHEAD, WAIT, RenewedCredentials
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured, RolecallError
from rolecall.testing.fake_clock import FakeClock

HOUR = 3600.0


class World:
    """An issuer whose credentials live for `life` seconds, takes `seconds` and fails while `failure` is set."""

    def __init__(self, *, extend: bool = False) -> None:
        self.clock = FakeClock()
        self.life, self.seconds = HOUR, 0.0
        self.failure: Exception | None = None
        self.asked: list[float] = []
        self.dice = 0.0
        self.credentials = RenewedCredentials(
            self.fetch, where="an issuer", clock=self.clock, dice=lambda: self.dice, log=Log("test"), extend=extend
        )

    async def fetch(self) -> Lease:
        """Issue."""
        number = len(self.asked)
        self.asked.append(self.clock.monotonic())
        await self.clock.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        return Lease(SigningKey(f"ASIA{number}", Secret("s"), Secret("t")), self.clock.now() + self.life)

    async def key(self) -> str:
        """Return the key, without letting time pass."""
        asking = asyncio.ensure_future(self.credentials.current())
        await self.clock.advance(0)
        assert asking.done(), "it waits"
        return asking.result().access_key_id

    async def outcome(self, seconds: float) -> str | RolecallError:
        """Return the key or the error that comes within so many seconds; it must be one of the two."""
        asking = asyncio.ensure_future(self.credentials.current())
        await self.clock.advance(seconds)
        assert asking.done(), "it waits still"
        error = asking.exception()
        if error is None:
            return asking.result().access_key_id
        assert isinstance(error, RolecallError)
        return error


def play(scene: Callable[[World], Awaitable[None]], *, extend: bool = False) -> None:
    """Run a scene."""

    async def run() -> None:
        world = World(extend=extend)
        await scene(world)
        await world.credentials.close()

    asyncio.run(run())


def test_one_fetch_until_five_minutes_before_the_end() -> None:
    """Then one more, beside what goes on: whoever asks meanwhile gets what is held, at once."""

    async def scene(world: World) -> None:
        assert [await world.key() for _ in range(5)] == ["ASIA0"] * 5
        await world.clock.advance(HOUR - AHEAD - 1)
        assert await world.key() == "ASIA0"
        assert len(world.asked) == 1
        world.seconds = 2.0
        await world.clock.advance(1)
        assert [await world.key() for _ in range(5)] == ["ASIA0"] * 5
        assert len(world.asked) == 2
        await world.clock.advance(2)
        assert await world.key() == "ASIA1"
        assert len(world.asked) == 2

    play(scene)


def test_many_who_wait_cause_one_fetch_and_share_what_it_brings() -> None:
    """Credentials or the error; and the first one's going away ends nothing for the others."""

    async def scene(world: World) -> None:
        world.seconds = 1.0
        for failure in (Misconfigured("no token", hint="mount it"), None):
            world.failure = failure
            asking = [asyncio.ensure_future(world.credentials.current()) for _ in range(50)]
            await world.clock.advance(0.5)
            asking.pop(0).cancel()
            await world.clock.advance(0.5)
            ended = await asyncio.gather(*asking, return_exceptions=True)
            if failure is None:
                assert {key.access_key_id for key in ended if isinstance(key, SigningKey)} == {"ASIA1"}
            else:
                assert all(isinstance(one, NoNodeCredentials) and "no token" in one.message for one in ended)
                assert {one.hint for one in ended if isinstance(one, NoNodeCredentials)} == {"mount it"}
            await world.clock.advance(60)
        assert len(world.asked) == 2

    play(scene)


def test_nobody_waits_longer_than_its_due_and_a_late_answer_is_kept() -> None:
    """Three seconds, half of what a pod's question may take; the next who asks gets what came meanwhile."""

    async def scene(world: World) -> None:
        world.seconds = 5.0
        error = await world.outcome(WAIT)
        assert isinstance(error, NoNodeCredentials)
        assert "within 3 seconds" in error.message
        await world.clock.advance(2.0)
        assert await world.key() == "ASIA0"
        assert len(world.asked) == 1

    play(scene)


def test_valid_ones_outlive_an_outage() -> None:
    """To their last second, with an attempt now and then; then the error that the last attempt met."""

    async def scene(world: World) -> None:
        await world.key()
        world.failure = NoNodeCredentials("it is away")
        await world.clock.advance(HOUR - AHEAD)
        for _ in range(299):
            assert await world.key() == "ASIA0"
            await world.clock.advance(1)
        pauses = [later - earlier for earlier, later in zip(world.asked[1:], world.asked[2:], strict=False)]
        assert 6 <= len(world.asked) <= 20
        assert max(pauses) <= 61
        assert pauses[-1] > pauses[0]
        await world.clock.advance(1)
        error = await world.outcome(0)
        assert isinstance(error, NoNodeCredentials)
        assert error.message == "it is away"
        world.failure = None
        await world.clock.advance(60)
        assert await world.key() == f"ASIA{len(world.asked) - 1}"
        assert world.credentials.failure is None, "what is shown is how it is now"

    play(scene)


def test_failures_are_told_again_for_a_moment() -> None:
    """So that a hundred pods at once do not ask a hundred times; longer each time, spread by chance."""

    async def scene(world: World) -> None:
        world.failure = NoNodeCredentials("it is away")
        for dice, least, most in ((0.0, 0.25, 0.26), (1.0, 0.99, 1.01), (1.0, 1.99, 2.01)):
            world.dice = dice
            before = len(world.asked)
            for _ in range(100):
                assert isinstance(await world.outcome(0), NoNodeCredentials)
            assert len(world.asked) == before + 1
            await world.clock.advance(least - 0.01)
            assert isinstance(await world.outcome(0), NoNodeCredentials)
            assert len(world.asked) == before + 1
            await world.clock.advance(most - least + 0.01)
        world.credentials.forget_failure()
        world.failure = None
        assert (await world.key()).startswith("ASIA")

    play(scene)


def test_an_issuer_that_renews_late_is_not_asked_all_the_time() -> None:
    """What it gives ends in two minutes each time: asked every half minute or so, and never without."""

    async def scene(world: World) -> None:
        world.life = 120.0
        for _ in range(600):
            await world.key()
            await world.clock.advance(1)
        assert 10 <= len(world.asked) <= 600 / 30 + 1

    play(scene)


def test_expired_ones_are_refused_or_used_on() -> None:
    """From STS they are an error; from IMDS they are used, for EC2 extends what it cannot renew (SDKs do so too)."""

    async def refused(world: World) -> None:
        world.life = -10.0
        error = await world.outcome(0)
        assert isinstance(error, NoNodeCredentials)
        assert "have expired" in error.message

    async def used(world: World) -> None:
        world.life = -10.0
        assert await world.key() == "ASIA0"
        await world.clock.advance(300 - 1)
        assert await world.key() == "ASIA0"
        assert len(world.asked) == 1, "botocore and the others wait some minutes, too"
        world.life = HOUR
        await world.clock.advance(1)
        await world.key()
        assert await world.key() == "ASIA1"

    play(refused)
    play(used, extend=True)


@pytest.mark.parametrize("extend", [False, True], ids=["STS", "IMDS"])
def test_an_outage_beyond_the_end(*, extend: bool) -> None:
    """IMDS's go on being used; others end when they end."""

    async def scene(world: World) -> None:
        await world.key()
        world.failure = NoNodeCredentials("it is away")
        await world.clock.advance(HOUR + 1)
        found = await world.outcome(0)
        assert found == "ASIA0" if extend else isinstance(found, NoNodeCredentials)

    play(scene, extend=extend)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_clock_that_is_set(step: float) -> None:
    """Forward, new ones are fetched; back, nothing lasts longer than it was given for."""

    async def scene(world: World) -> None:
        await world.key()
        world.clock.step(step)
        assert await world.key() == ("ASIA0" if step < 0 else "ASIA1")
        await world.clock.advance(HOUR)
        assert await world.key() == ("ASIA1" if step < 0 else "ASIA2")

    play(scene)


def test_a_defect_is_an_error_and_not_a_hang() -> None:
    """Told by kind, never by message, which could quote a secret."""

    async def scene(world: World) -> None:
        world.failure = ZeroDivisionError("hush")
        error = await world.outcome(0)
        assert isinstance(error, NoNodeCredentials)
        assert error.message == "an issuer could not be asked: ZeroDivisionError"
        world.failure = None
        await world.clock.advance(1)
        assert await world.key() == "ASIA1"

    play(scene)


def test_it_is_logged_what_came_and_what_did_not(caplog: pytest.LogCaptureFixture) -> None:
    """For how long; why not, when again, and whether there are others: never a key."""

    async def scene(world: World) -> None:
        await world.key()
        world.failure = NoNodeCredentials("it is away", hint="wait")
        await world.clock.advance(HOUR - AHEAD)
        await world.key()
        assert world.credentials.failure is world.failure
        assert world.credentials.expires_at == 1_700_000_000 + HOUR

    with caplog.at_level("INFO"):
        play(scene)
    text = json.dumps([record.__dict__ for record in caplog.records], default=str)
    assert "node_credentials.fetched" in text
    assert "node_credentials.failed" in text
    assert "ASIA" not in text


def test_closing_ends_the_fetch() -> None:
    """And whoever waits for it."""

    async def scene(world: World) -> None:
        world.seconds = HOUR
        asking = asyncio.ensure_future(world.credentials.current())
        await world.clock.advance(1)
        await world.credentials.close()
        await world.clock.advance(WAIT)
        assert asking.done()
        assert asking.cancelled() or asking.exception()

    play(scene)

"""Questions for one name: shared, never older than whoever asks, and bounded."""

from __future__ import annotations

import asyncio

import pytest

from rolecall.daemons.webhook.sources.look_ups import LookUpRules, LookUps, TooMany
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock

SA = ("carts", "carts")


class Api:
    """Answers after a second what it read at the call's beginning."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.value, self.calls = clock, "old", 0
        self.hangs = False

    async def __call__(self, namespace: str, name: str) -> str:
        self.calls += 1
        read = self.value
        await self.clock.sleep(1e9 if self.hangs else 1.0)
        if read == "broken":
            raise Upstream("it is broken")
        return read


def test_one_call_for_all_who_ask_before_it_begins() -> None:
    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        ask = LookUps(api, clock=clock, rules=LookUpRules(seconds=5))
        first = asyncio.create_task(ask(*SA))
        await clock.advance(0.5)
        api.value = "new"
        others = [asyncio.create_task(ask(*SA)) for _ in range(50)]
        await clock.advance(3)
        assert await first == "old"
        assert {await one for one in others} == {"new"}, "none joined the call that began before its question"
        assert (api.calls, ask.calls, len(ask)) == (2, 2, 0)

    asyncio.run(scene())


def test_a_chain_of_questions_has_one_running_and_one_waiting() -> None:
    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        ask = LookUps(api, clock=clock, rules=LookUpRules(seconds=5))
        tasks = []
        for number in range(20):  # one every tenth of a second, for two seconds
            api.value = str(number)
            tasks.append((number, asyncio.create_task(ask(*SA))))
            await clock.advance(0.1)
        await clock.advance(5)
        for number, task in tasks:
            assert int(await task) >= number
        assert api.calls <= 4
        assert len(ask) == 0

    asyncio.run(scene())


def test_a_caller_who_goes_away_takes_nothing_along() -> None:
    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        ask = LookUps(api, clock=clock, rules=LookUpRules(seconds=5))
        first, second = asyncio.create_task(ask(*SA)), asyncio.create_task(ask(*SA))
        await clock.advance(0.1)
        first.cancel()
        await clock.advance(3)
        assert await second == "old"

    asyncio.run(scene())


def test_an_error_is_everybodys_and_is_not_remembered() -> None:
    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        api.value = "broken"
        ask = LookUps(api, clock=clock, rules=LookUpRules(seconds=5))
        asked = [asyncio.create_task(ask(*SA)) for _ in range(3)]
        await clock.advance(3)
        assert [type(found) for found in await asyncio.gather(*asked, return_exceptions=True)] == [Upstream] * 3
        assert ask.failed == 2
        api.value = "new"
        again = asyncio.create_task(ask(*SA))
        await clock.advance(1)
        assert await again == "new"

    asyncio.run(scene())


def test_one_that_hangs_ends() -> None:
    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        api.hangs = True
        ask = LookUps(api, clock=clock, rules=LookUpRules(seconds=2))
        asked = asyncio.create_task(ask(*SA))
        await clock.advance(2)
        with pytest.raises(Upstream, match="within 2 s"):
            await asked
        assert (len(ask), ask.failed) == (0, 1)

    asyncio.run(scene())


def test_names_at_once_and_calls_a_second_are_bounded() -> None:
    async def scene() -> None:
        clock = FakeClock()
        ask = LookUps(Api(clock), clock=clock, rules=LookUpRules(most=3, a_second=1, burst=5, seconds=5))
        tasks = [asyncio.create_task(ask("carts", str(number))) for number in range(3)]
        await clock.advance(0)
        with pytest.raises(TooMany):
            await ask("carts", "one more")
        await clock.advance(1)
        await asyncio.gather(*tasks)
        later = [asyncio.create_task(ask("carts", str(number))) for number in range(3)]
        await clock.advance(0)
        with pytest.raises(TooMany):  # five at once, and one came back in the second that has passed
            await ask("carts", "0")
        await clock.advance(1)
        await asyncio.gather(*later)
        assert ask.refused == 2
        await ask.close()

    asyncio.run(scene())

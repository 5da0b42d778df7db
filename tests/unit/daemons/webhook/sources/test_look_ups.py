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
        assert (ask.calls, ask.failed) == (1, 1)
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
        ask = LookUps(api, clock=clock, rules=LookUpRules(most=1, seconds=2))
        asked = asyncio.create_task(ask(*SA))
        await clock.advance(2)
        with pytest.raises(Upstream, match="within 2 s"):
            await asked
        assert (len(ask), ask.failed) == (0, 1)
        api.hangs = False
        again = asyncio.create_task(ask(*SA))
        await clock.advance(1)
        assert await again == "old", "its place is free again"

    asyncio.run(scene())


def test_names_take_turns_and_none_is_lost() -> None:
    """Three hundred names in one moment, and four calls at once: everybody is answered."""

    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        ask = LookUps(api, clock=clock, rules=LookUpRules(most=4, patience=80))
        tasks = [asyncio.create_task(ask("carts", str(number))) for number in range(300)]
        await clock.advance(0)
        assert (api.calls, len(ask)) == (4, 300)
        await clock.advance(1)
        assert api.calls == 8
        await clock.advance(74)
        assert [await task for task in tasks] == ["old"] * 300
        assert (ask.calls, ask.answered, ask.failed, ask.refused, len(ask)) == (300, 300, 0, 0, 0)

    asyncio.run(scene())


def test_who_waits_is_joined_until_its_turn_comes() -> None:
    """Its call has not begun, so that it will read what is there now."""

    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        ask = LookUps(api, clock=clock, rules=LookUpRules(most=1, seconds=5))
        other, first = asyncio.create_task(ask("carts", "other")), asyncio.create_task(ask(*SA))
        await clock.advance(0.9)
        api.value = "new"
        second = asyncio.create_task(ask(*SA))
        await clock.advance(2)
        assert (await other, await first, await second) == ("old", "new", "new")
        assert api.calls == 2

    asyncio.run(scene())


def test_calls_a_second_are_bounded() -> None:
    async def scene() -> None:
        clock = FakeClock()
        api = Api(clock)
        ask = LookUps(api, clock=clock, rules=LookUpRules(most=50, a_second=2, burst=5, patience=20))
        tasks = [asyncio.create_task(ask("carts", str(number))) for number in range(20)]
        counted = []
        for _ in range(4):
            await clock.advance(0)
            counted.append(api.calls)
            await clock.advance(1)
        assert counted == [5, 7, 9, 11]
        await clock.advance(20)
        assert len([await task for task in tasks]) == 20

    asyncio.run(scene())


def test_there_is_an_end_to_waiting() -> None:
    """So many names may wait, and each so long; what was refused is no failure of whoever is asked."""

    async def scene() -> None:
        clock = FakeClock()
        ask = LookUps(Api(clock), clock=clock, rules=LookUpRules(most=1, waiting=2, a_second=0.1, burst=1, patience=2))
        first = asyncio.create_task(ask("carts", "0"))
        await clock.advance(1)
        assert await first == "old"
        waiting = [asyncio.create_task(ask("carts", str(number))) for number in (1, 2)]
        await clock.advance(0)
        with pytest.raises(TooMany):
            await ask("carts", "3")
        await clock.advance(2)
        assert [type(found) for found in await asyncio.gather(*waiting, return_exceptions=True)] == [TooMany] * 2
        assert (ask.calls, ask.failed, ask.refused, len(ask)) == (1, 0, 3, 0)
        await clock.advance(10)
        again = asyncio.create_task(ask("carts", "1"))
        await clock.advance(1)
        assert await again == "old"
        await ask.close()

    asyncio.run(scene())

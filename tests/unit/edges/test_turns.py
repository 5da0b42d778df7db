"""Turns by address, in virtual time: a crowd waits for itself, and its neighbour for one answer at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.edges.cache import CredentialCache
from rolecall.edges.turns import Turns
from rolecall.errors import ServiceError
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

CALL = 0.15
"""Seconds of an upstream call."""


class World:
    """A cache over turns over an upstream."""

    def __init__(self, most: int = 32, of_one: int = 28, waiting_of_one: int = 1000) -> None:
        self.clock = FakeClock()
        self.upstream = FakeSource(self.clock, delay=CALL)
        self.turns = Turns(self.upstream, most=most, of_one=of_one, waiting_of_one=waiting_of_one)
        self.cache = CredentialCache(self.turns, clock=self.clock, dice=lambda: 0.0)
        self.took: dict[str, float] = {}

    async def _ask(self, peer: str, name: str) -> Issued | Exception:
        began = self.clock.monotonic()
        try:
            return await self.cache(Ask(token=Secret(f"{peer} {name}"), peer=peer))
        except ServiceError as error:
            return error
        finally:
            self.took[f"{peer} {name}"] = self.clock.monotonic() - began

    def ask(self, peer: str, number: int = 1) -> list[asyncio.Task[Issued | Exception]]:
        """Ask for so many tokens that nobody has asked for before."""
        return [asyncio.create_task(self._ask(peer, str(one))) for one in range(number)]


def play(scene: Callable[[World], Awaitable[None]], **bounds: int) -> None:
    """Run a scene; nothing may be left in the turns."""

    async def run() -> None:
        world = World(**bounds)
        await scene(world)
        await world.cache.close()
        assert (world.turns._free, world.turns._inside, world.turns._waiting) == (bounds.get("most", 32), {}, {})

    asyncio.run(run())


@pytest.mark.parametrize("flooders", [1, 3])
def test_a_neighbour_waits_for_one_answer_at_most(flooders: int) -> None:
    """Beside addresses that ask for 500 unknown tokens each; they are all answered too, later."""

    async def scene(world: World) -> None:
        crowd = [one for flooder in range(flooders) for one in world.ask(f"flooder-{flooder}", 500 // flooders)]
        await world.clock.advance(0.3 * CALL)
        neighbours = world.ask("neighbour", 1) + world.ask("another", 1)
        await world.clock.advance(3 * CALL)
        assert all(isinstance(one.result(), Issued) for one in neighbours)
        assert max(world.took["neighbour 0"], world.took["another 0"]) <= 2 * CALL + 1e-9
        if flooders == 1:
            assert world.took["neighbour 0"] == pytest.approx(CALL), "one address cannot take all the places"
        assert world.upstream.most_under_way == (30 if flooders == 1 else 32)
        await world.clock.advance(20 * CALL)
        assert all(isinstance(one.result(), Issued) for one in crowd)

    play(scene)


def test_a_node_that_starts_is_as_fast_as_before() -> None:
    """110 pods, each from its own address or all from one, in four rounds of 32: within two thirds of a second."""

    async def scene(world: World) -> None:
        many = [one for pod in range(110) for one in world.ask(f"pod-{pod}")]
        await world.clock.advance(4 * CALL)
        assert all(one.done() for one in many)
        one = world.ask("all", 110)
        await world.clock.advance(4 * CALL)
        assert all(task.done() for task in one)

    play(scene)


def test_addresses_take_turns() -> None:
    """Whoever has the fewest under way is next, and of equals the one that was served longest ago."""

    async def scene(world: World) -> None:
        tasks = world.ask("a", 4) + world.ask("b", 2) + world.ask("c", 1)
        await world.clock.advance(10 * CALL)
        assert all(one.done() for one in tasks)
        assert [ask.peer for ask in world.upstream.asked] == ["a", "b", "c", "a", "b", "a", "a"]

    play(scene, most=1, of_one=1)


def test_no_address_waits_without_a_bound() -> None:
    """It is told to come again; others still may wait."""

    async def scene(world: World) -> None:
        crowd = world.ask("flooder", 5)
        await world.clock.advance(0.0)
        refused = [one.result() for one in crowd if one.done()]
        assert [getattr(one, "status", 0) for one in refused] == [429, 429]
        (neighbour,) = world.ask("neighbour")
        await world.clock.advance(2 * CALL)
        assert isinstance(neighbour.result(), Issued)
        await world.clock.advance(4 * CALL)

    play(scene, most=1, of_one=1, waiting_of_one=2)


def test_whoever_is_given_up_leaves_its_place() -> None:
    """While it waits, and in the moment between being let in and asking."""

    async def scene(world: World) -> None:
        ask = Ask(token=Secret("t"), peer="p")
        first, second, third = (asyncio.create_task(world.turns(ask)) for _ in range(3))
        await world.clock.advance(0.5 * CALL)
        second.cancel()
        first.cancel()
        await asyncio.sleep(0)
        third.cancel()  # it was let in by the first one's end
        await asyncio.wait({second, third})
        assert len(world.upstream.asked) == 1
        fourth = asyncio.create_task(world.turns(ask))
        await world.clock.advance(CALL)
        assert isinstance(fourth.result(), Issued)

    play(scene, most=1, of_one=1)

"""Which container asks is what the engine says now, and nothing that it said before."""

from __future__ import annotations

import asyncio

import pytest

from rolecall.core.caller import AtContainerIp
from rolecall.core.grant import Refusal
from rolecall.core.records import ContainerFacts
from rolecall.daemons.agent.metadata.containers import LOOKS_AT_ONCE, SWEEP, ContainersByIp, MappedAddresses
from rolecall.edges.telemetry import Log
from rolecall.errors import ServiceError, Upstream
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.testing.fake_clock import FakeClock

HERE, THERE = "172.17.0.2", "172.17.0.3"


class Engine:
    """Containers that come and go."""

    def __init__(self) -> None:
        self.started: list[ContainerFacts] = []
        self.asked: list[str] = []
        self.well = True
        self.lost: list[str] = []

    def start(self, name: str, address: str = HERE) -> ContainerFacts:
        """Start one; return it."""
        self.started.append(ContainerFacts(name, name, frozenset({address}), {"IAM_ROLE": name}))
        return self.started[-1]

    async def at(self, address: str) -> list[ContainerFacts]:
        """Return who is there."""
        self.asked.append(address)
        if not self.well:
            raise Upstream("the engine does not answer")
        return [one for one in self.started if address in one.addresses]

    async def running(self) -> frozenset[str]:
        """Return all."""
        self.asked.append("all")
        if not self.well:
            raise Upstream("the engine does not answer")
        return frozenset(one.id for one in self.started)


def by_ip(engine: Engine, clock: FakeClock | None = None) -> ContainersByIp:
    """Return what asks this engine, in virtual time."""
    return ContainersByIp(
        engine,
        account=lambda: "123456789012",
        lost=engine.lost.append,
        clock=clock or FakeClock(),
        log=Log("test"),
    )


async def who(whose: ContainersByIp, peer: str = HERE) -> str:
    """Return the name of the container at an address, or the reason why there is none."""
    facts = await whose.facts(peer)
    if isinstance(facts, Refusal):
        return facts.reason
    assert isinstance(facts.caller, AtContainerIp)
    assert (facts.caller.address, facts.account) == (HERE, "123456789012")
    return facts.caller.container.name


def test_the_next_at_an_address_is_not_the_last() -> None:
    """A thousand containers at one address: each is itself, and between two of them there is nobody."""

    async def main() -> None:
        engine, clock = Engine(), FakeClock()
        whose = by_ip(engine, clock)
        engine.start("other", THERE)
        for turn in range(1000):
            await clock.advance(0.2)
            assert await who(whose) == "no-container"
            one = engine.start(f"c{turn}")
            assert await who(whose, f"::ffff:{HERE}") == one.name
            engine.started.remove(one)

    asyncio.run(main())


def test_what_was_true_is_not_known() -> None:
    """Without asking the engine only one thing is: that what is no address is nobody's."""

    async def main() -> None:
        engine = Engine()
        whose = by_ip(engine)
        engine.start("one")
        assert await who(whose) == "one"
        assert whose.known(HERE) is None
        for facts in (whose.known("unix:"), await whose.facts("")):
            assert isinstance(facts, Refusal)
        assert engine.asked == [HERE]

    asyncio.run(main())


def test_two_at_one_address_and_an_engine_that_is_ill() -> None:
    """Neither of two is given a role; and where the engine does not answer nobody is taken for the last one."""

    async def main() -> None:
        engine = Engine()
        whose = by_ip(engine)
        engine.start("one")
        engine.start("two")
        assert await who(whose) == "shared-address"
        engine.well = False
        with pytest.raises(Upstream):
            await who(whose)

    asyncio.run(main())


def test_an_address_that_floods_stops_itself() -> None:
    """It gets 429 without a question to the engine, and its neighbour an answer."""

    async def main() -> None:
        engine = Engine()
        whose = by_ip(engine)
        for _ in range(int(LOOKS_AT_ONCE)):
            await whose.facts(THERE)
        with pytest.raises(ServiceError) as caught:
            await whose.facts(f"::ffff:{THERE}")
        assert caught.value.status == 429
        assert len(engine.asked) == LOOKS_AT_ONCE
        engine.start("one")
        assert await who(whose) == "one"

    asyncio.run(main())


def test_whoever_has_ended_is_told_of() -> None:
    """So that nothing is renewed for it; an engine that is ill ends nobody, and is told of."""

    async def main() -> None:
        engine, clock = Engine(), FakeClock()
        whose = by_ip(engine, clock)
        sweep = asyncio.create_task(whose.run())
        one, _ = engine.start("one"), engine.start("two", THERE)
        assert await who(whose) == "one"
        await whose.facts(THERE)
        await clock.advance(SWEEP)
        assert engine.lost == []
        engine.started.remove(one)
        engine.well = False
        await clock.advance(SWEEP)
        assert (engine.lost, whose.missing) == ([], "the engine does not answer")
        engine.well = True
        await clock.advance(2 * SWEEP)
        assert (engine.lost, whose.missing) == (["one"], "")
        sweep.cancel()

    asyncio.run(main())


def test_a_table_of_the_operators() -> None:
    """Who has which address by ROLE_MAPPING_FILE; whoever is not in it is nobody."""
    one = ContainerFacts("m", "m", frozenset({HERE}), {"IAM_ROLE": "r"})
    whose = MappedAddresses({HERE: one}, str)
    assert whose.known(f"{HERE}:4711") == asyncio.run(whose.facts(HERE)) == Facts(AtContainerIp(HERE, one))
    assert [facts.reason for facts in (whose.known(THERE), whose.known("")) if isinstance(facts, Refusal)] == [
        "no-container"
    ] * 2

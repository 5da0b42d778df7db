"""Leadership by a Lease, with client-go's times, in virtual time: never two at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from object_api import ObjectApi, refused
from rolecall.daemons.controller.lease.leader import Leader, NotLeading
from rolecall.edges.http_call import CallFailed
from rolecall.edges.telemetry import Log
from rolecall.testing.fake_clock import FakeClock

PLACE = ("ours", "the-lease")
PATH = "/apis/coordination.k8s.io/v1/namespaces/ours/leases"


@dataclass
class Replica:
    """One that tries to lead; `changes` are (moment, whether it leads)."""

    name: str
    api: ObjectApi
    clock: FakeClock
    changes: list[tuple[float, bool]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def start(self) -> Replica:
        self.leader = Leader(self.api, PLACE, self.name, clock=self.clock, dice=lambda: 0.5, log=Log("rolecall.test"))
        self.task = asyncio.create_task(self.leader.run(self._note(True), self._note(False)))
        return self

    def _note(self, leads: bool) -> Any:
        return lambda: self.changes.append((self.clock.monotonic(), leads))

    async def die(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def play(scene: Callable[[FakeClock, ObjectApi, Replica], Awaitable[None]]) -> None:
    """Run a scene that begins when one replica leads; all replicas end with it."""

    async def run() -> None:
        clock = FakeClock(start=1_700_000_000.25)
        api = ObjectApi(clock)
        one = Replica("one", api, clock).start()
        await clock.advance(0.0)
        await scene(clock, api, one)

    asyncio.run(run())


def spec_of(api: ObjectApi) -> dict[str, Any]:
    return api.objects[f"{PATH}/the-lease"]["spec"]


def test_the_first_makes_it_and_renews() -> None:
    """The Lease is client-go's, renewed every two seconds with one call each."""

    async def scene(clock: FakeClock, api: ObjectApi, one: Replica) -> None:
        assert one.leader.leading
        assert spec_of(api) == {
            "holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2023-11-14T22:13:20.250000Z", "renewTime": "2023-11-14T22:13:20.250000Z",
        }  # fmt: skip
        before = len(api.calls)
        await clock.advance(20.0)
        assert [method for method, _ in api.calls[before:]] == ["PUT"] * 10
        assert spec_of(api)["renewTime"] == "2023-11-14T22:13:40.250000Z"
        assert one.changes == [(0.0, True)]

    play(scene)


def test_another_waits_until_it_is_over() -> None:
    """A leader that dies is followed 15 seconds after its last renewal was seen, and two retries later at most."""

    async def scene(clock: FakeClock, api: ObjectApi, one: Replica) -> None:
        two = Replica("two", api, clock).start()
        await clock.advance(61.0)
        assert not two.leader.leading
        assert two.leader.holder == "one"
        await one.die()
        await clock.advance(20.0)
        ((at, leads),) = two.changes
        assert leads
        assert 60.0 + 15.0 <= at <= 60.0 + 15.0 + 5.0
        assert (spec_of(api)["holderIdentity"], spec_of(api)["leaseTransitions"]) == ("two", 1)

    play(scene)


def test_one_that_is_given_up_is_taken_at_once() -> None:
    """After a clean end the next one leads at its next try."""

    async def scene(clock: FakeClock, api: ObjectApi, one: Replica) -> None:
        two = Replica("two", api, clock).start()
        await clock.advance(10.5)
        await one.leader.release()
        assert spec_of(api)["holderIdentity"] == ""
        await one.die()
        await clock.advance(2.5)
        assert two.leader.leading
        with pytest.raises(NotLeading):
            one.leader.check()

    play(scene)


@pytest.mark.parametrize("how", ["refused", "unreachable", "silent"])
def test_one_that_cannot_renew_stops_before_another_begins(how: str) -> None:
    """Ten seconds after the last renewal began it leads no more, whatever kept it, and says why."""

    async def scene(clock: FakeClock, api: ObjectApi, one: Replica) -> None:
        await clock.advance(20.0)
        if how == "silent":
            api.delay = 3600.0
        else:
            api.fail = lambda *_: refused(403, "Forbidden") if how == "refused" else CallFailed("api", "refused")
        await clock.advance(9.9)
        assert one.leader.leading
        await clock.advance(0.2)
        assert not one.leader.leading
        assert one.changes == [(0.0, True), (30.0, False)]
        assert one.leader.fault
        api.delay, api.fail = 0.0, lambda *_: None
        await clock.advance(25.0)
        assert one.leader.leading
        assert not one.leader.fault

    play(scene)


def test_one_that_slept_does_not_lead_when_it_wakes() -> None:
    """A process that was stopped for a while knows by its clock, before it asks anybody."""

    async def scene(clock: FakeClock, _api: ObjectApi, one: Replica) -> None:
        await clock.advance(1.0)
        clock._elapsed += 10.0  # nothing of this process ran
        assert not one.leader.leading
        with pytest.raises(NotLeading):
            one.leader.check()

    play(scene)


def test_one_whose_lease_was_taken_stops_at_once() -> None:
    """Somebody wrote another holder: the next renewal sees that."""

    async def scene(clock: FakeClock, api: ObjectApi, one: Replica) -> None:
        await clock.advance(1.0)
        lease = json.loads(json.dumps(api.objects[f"{PATH}/the-lease"]))
        lease["spec"] |= {"holderIdentity": "thief", "leaseTransitions": 7}
        api.put(PATH, lease)
        await clock.advance(1.5)
        assert one.changes == [(0.0, True), (2.0, False)]
        assert one.leader.holder == "thief"

    play(scene)


def test_never_two_at_once() -> None:
    """Three replicas, each cut off for a while, again and again: never two lead, and mostly one does."""

    async def scenario() -> None:
        clock = FakeClock()
        shared = ObjectApi(clock)
        replicas = [
            Replica(name, _Cut(shared, clock, shift), clock) for name, shift in (("a", 0), ("b", 40), ("c", 80))
        ]
        for one in replicas:
            one.start()
        led = 0
        for _ in range(1200):
            await clock.advance(1.0)
            leading = [one.name for one in replicas if one.leader.leading]
            assert len(leading) <= 1, leading
            led += len(leading)
        assert led > 600
        assert all(any(leads for _, leads in one.changes) for one in replicas)
        for one in replicas:
            await one.die()

    asyncio.run(scenario())


class _Cut(ObjectApi):
    """Another's objects, not to be reached for 30 of each 120 seconds."""

    def __init__(self, shared: ObjectApi, clock: FakeClock, shift: float) -> None:
        super().__init__(clock)
        self.objects, self._numbers = shared.objects, shared._numbers
        self.fail = lambda *_: CallFailed("api", "refused") if (clock.monotonic() + shift) % 120 < 30 else None

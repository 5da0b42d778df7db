"""A node's day in virtual time: a thousand pods begin, ask, change and end at addresses that are used again and again.

The model knows who is really at an address; the door only knows what the watch told it, up to half a second late and
in order. Whatever is asked when, nobody is given a role that was not the asker's own in that half second, and nobody
whose pod lives is told that it is not there.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from unit.daemons.agent.metadata.world import ROLES, World

PODS, ADDRESSES, LATE = 1000, 60, 0.5
ROLES_THERE = [f"role-{number}" for number in range(7)]


@dataclass
class Pod:
    """What a pod really is. `until` has the moments at which it lost other roles."""

    uid: str
    address: str
    role: str
    until: dict[str, float] = field(default_factory=dict)

    def may_have(self, now: float) -> set[str]:
        """Return the roles that it may be given by whoever knows what was true half a second ago."""
        return {self.role} | {role for role, at in self.until.items() if at >= now - LATE}


class Node:
    """The truth. `wrong` are credentials of a role that was not the asker's; `missed` refusals of pods that live."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World()
        self.free = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(ADDRESSES)]
        self.told_at = 0.0
        self.wrong: list[str] = []
        self.missed: list[str] = []
        self.served = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def tell(self, uid: str, *addresses: str, **more: Any) -> None:
        """Have the watch tell of a pod as it is now, some time later and after what it was told before."""
        clock, found = self.world.clock, self.world.pod(uid, *addresses, **more)
        self.told_at = max(self.told_at, clock.monotonic() + self.dice.uniform(0.0, LATE))
        self.told_at = min(self.told_at, clock.monotonic() + LATE)
        gone = more.get("phase") == "Gone"

        async def later(at: float) -> None:
            await clock.sleep(at - clock.monotonic())
            (self.world.pods.drop if gone else self.world.pods.put)(found)

        self.begin(later(self.told_at))

    async def live(self, number: int) -> None:
        """Be one pod, from its address to its end."""
        clock, dice, world = self.world.clock, self.dice, self.world
        await clock.sleep(dice.uniform(0.0, 600.0))
        while not self.free:
            await clock.sleep(1.0)
        address, uid = self.free.pop(dice.randrange(len(self.free))), f"u{number}"
        pod = Pod(uid, address, dice.choice(ROLES_THERE))
        self.tell(uid, role=pod.role, phase="Pending")
        self.tell(uid, address, role=pod.role)
        world.sts.delay = dice.choice([0.0, 0.05, 0.3])
        for _ in range(dice.randrange(1, 4)):
            await self.ask(pod, living=True)
            if dice.random() < 0.2:
                pod.until[pod.role] = clock.monotonic()
                pod.role = dice.choice(ROLES_THERE)
                self.tell(uid, address, role=pod.role)
                await self.ask(pod, living=True)
            await clock.sleep(dice.choice([0.0, 0.6, 5.0]))
        await self.end(pod)

    async def end(self, pod: Pod) -> None:
        """End in one of the ways of Kubernetes; the address is another's at once, or after a second."""
        clock, dice = self.world.clock, self.dice
        if dice.random() < 0.6:  # deleted, with a time of grace
            self.tell(pod.uid, pod.address, role=pod.role, deleted=True)
            await self.ask(pod, living=False)
            await clock.sleep(dice.uniform(LATE, 2.0))
            self.tell(pod.uid, phase="Gone")
        else:  # it has done its work, or somebody has it forgotten
            self.tell(pod.uid, pod.address, role=pod.role, phase=dice.choice(["Succeeded", "Failed", "Gone"]))
            await clock.sleep(1.0)
            self.tell(pod.uid, phase="Gone")
        self.free.append(pod.address)

    async def ask(self, pod: Pod, *, living: bool) -> None:
        """Ask as an SDK does: for the name, then for the credentials; now and then for somebody else's as well."""
        may = pod.may_have(self.world.clock.monotonic())
        named = (await self.world.ask(pod.address, ROLES)).body.decode()
        if living and named not in may:
            self.missed.append(f"{pod} is listed as {named}")
        for role in sorted({pod.role, self.dice.choice(ROLES_THERE)}):
            may = pod.may_have(self.world.clock.monotonic())
            got = await self.world.role_of(pod.address, role)
            self.served += got == role
            if isinstance(got, str) and got not in may:
                self.wrong.append(f"{pod} was given {got}")
            elif living and got == 404 and may == {role}:
                self.missed.append(f"{pod} was refused {role}")


@pytest.mark.parametrize("seed", [1])
def test_no_wrong_role_and_nobody_missed(seed: int) -> None:
    """A thousand pods at sixty addresses, in ten minutes."""
    logging.getLogger("rolecall").setLevel(logging.CRITICAL)  # thirty thousand lines are not looked at

    async def work() -> Node:
        node = Node(seed)
        pods = [node.begin(node.live(number)) for number in range(PODS)]
        while not all(pod.done() for pod in pods):
            await node.world.clock.advance(5.0)
        await asyncio.gather(*pods)
        return node

    node = asyncio.run(work())
    assert not node.wrong, node.wrong[:5]
    assert not node.missed, node.missed[:5]
    assert node.served > PODS
    assert len(node.world.granted.cache) == 0  # entries die with their pods
    assert not node.world.pods.pods

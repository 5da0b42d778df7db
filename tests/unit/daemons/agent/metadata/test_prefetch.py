"""Prefetching, in virtual time: as fast as it is told to, and never what the pod itself would not get."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rolecall.daemons.agent.metadata.prefetch import Prefetch
from rolecall.errors import UpstreamAnswered
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam
from unit.daemons.agent.metadata.world import BASE, KUBE2IAM, ROLES, World, arn


def prefetching(world: World, rate: float) -> Prefetch:
    """Return a prefetch that is told of the world's pods."""
    found = Prefetch(world.pods, world.corridor.dialect, world.granted, world.clock, rate)
    world.pods.come = found.come
    found.begin()
    return found


def test_five_hundred_roles_come_at_the_set_rate() -> None:
    """Of a node that starts with all of them; none twice; then each pod is served without a call."""

    async def work() -> None:
        world = World()
        prefetch = prefetching(world, 20.0)
        world.sts.delay = 0.3
        addresses = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(500)]
        pods = [world.pod(f"u{n}", address, role=f"role-{n}") for n, address in enumerate(addresses)]
        world.pods.replace(pods)
        for second in range(1, 25):
            await world.clock.advance(1.0)
            assert abs(len(world.sts.asked) - 20 * second) <= 1
        await world.clock.advance(2.0)
        assert sorted(str(hop.role) for hop in world.sts.asked) == sorted(str(arn(f"role-{n}")) for n in range(500))
        assert await world.role_of(addresses[77], "role-77") == "role-77"
        assert len(world.sts.asked) == prefetch.asked == 500
        world.pods.replace(pods)
        world.put("u3", addresses[3], role="role-3", annotations={"iam.amazonaws.com/external-id": "new"})
        await world.clock.advance(1.0)
        assert [hop.session.external_id for hop in world.sts.asked[500:]] == ["new"]
        await prefetch.close()

    asyncio.run(work())


def test_a_slow_sts_is_not_stampeded_and_failures_are_the_pods_own() -> None:
    """Sixteen under way are the most; a pod whose role is refused hears of it when it asks itself."""

    async def work() -> None:
        world = World()
        prefetch = prefetching(world, 1000.0)
        world.sts.delay = 5.0
        world.sts.failure = UpstreamAnswered(status=403, code="AccessDenied", message="no")
        for number in range(40):
            world.put(f"u{number}", f"10.0.0.{number + 1}", role=f"role-{number}")
        world.put("plain", "10.0.1.1")
        world.put("h", "10.0.1.2", role="node", host=True)
        world.put("gone", "10.0.1.3", role="gone")
        world.pods.drop(world.pod("gone", "10.0.1.3"))
        await world.clock.advance(1.0)
        assert len(world.sts.asked) == 16
        await world.clock.advance(20.0)
        assert len(world.sts.asked) == 40
        assert (await world.ask("10.0.0.1", ROLES)).body == b"role-0"
        await prefetch.close()

    asyncio.run(work())


def test_a_namespace_that_is_late_is_waited_for() -> None:
    """At the agent's start the pods may be known before the namespaces are."""

    async def work() -> None:
        world = World(replace(KUBE2IAM, kube2iam=Kube2iam(base=BASE, restrictions=True)))
        prefetch = prefetching(world, 10.0)
        world.put("a", "10.0.0.1", role="reader")
        await world.clock.advance(0.5)
        assert not world.sts.asked
        world.namespace("default", **{"iam.amazonaws.com/allowed-roles": '["reader"]'})
        await world.clock.advance(0.1)
        assert [hop.role for hop in world.sts.asked] == [arn("reader")]
        await prefetch.close()

    asyncio.run(work())

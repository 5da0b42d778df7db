"""The short way: known bytes are answered alike, and no longer than what was judged holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.agent.metadata.settings import VERSION_KEY
from unit.daemons.agent.metadata.world import ROLES, World

A, B = "10.0.0.1", "10.0.0.2"
TTL = ("x-aws-ec2-metadata-token-ttl-seconds", "60")


async def answered(world: World, request: Request) -> Reply:
    found = world.corridor(request)
    return found if isinstance(found, Reply) else await found


async def known(world: World, token: str = "") -> Request:
    """Return a request of a pod that has been answered, and is known."""
    world.put("a", A, role="reader")
    shown = (("x-aws-ec2-metadata-token", token),) if token else ()
    request = Request(
        "GET", ROLES + "reader", (("host", "169.254.169.254"), *shown), peer=A, raw=b"GET reader" + token.encode()
    )
    assert (await answered(world, request)).status == 200
    return request


def quick(world: World, request: Request, peer: str = A) -> bytes | None:
    assert world.corridor.hot is not None
    found = world.corridor.hot.answer(request.raw, peer)
    return None if found is None else found[0]


def test_known_bytes_are_answered_as_before() -> None:
    """Status, headers, body; counted as a hit; only for the address that sent them."""

    async def work() -> None:
        world = World()
        request = await known(world)
        slow = await answered(world, request)
        hits = world.granted.cache.counters.hits
        fast = quick(world, request)
        assert fast is not None
        assert fast.startswith(b"HTTP/1.1 200 ")
        assert fast.endswith(b"\r\n\r\n" + slow.body)
        assert world.granted.cache.counters.hits == hits + 1
        assert world.tally.replies == {200: 3}
        world.put("b", B, role="reader")
        assert quick(world, request, B) is None

    asyncio.run(work())


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.put("a", A, role="writer"),
        lambda world: world.put("a", A, role="reader", deleted=True),
        lambda world: world.put("a", role="reader"),
        lambda world: world.put("a", A, role="reader", annotations={"iam.amazonaws.com/external-id": "xx"}),
        lambda world: world.pods.replace([world.pod("b", A, role="reader")]),
        lambda world: world.put("b", A, role="reader"),
        lambda world: world.namespace("default", **{VERSION_KEY: "required"}),
        lambda world: world.granted.cache.revoke_all(),
    ],
    ids=["role", "deleted", "address", "external id", "other pod", "shared", "namespace", "cache"],
)
def test_nothing_is_known_any_more_once_it_changed(change: Callable[[World], object]) -> None:
    """The very next request is read and judged."""

    async def work() -> None:
        world = World()
        request = await known(world)
        assert quick(world, request) is not None
        change(world)
        assert quick(world, request) is None
        assert quick(world, request) is None

    asyncio.run(work())


def test_a_known_request_ends_with_its_token() -> None:
    """A minute later its token is not good any more."""

    async def work() -> None:
        world = World(required=True)
        world.put("a", A, role="reader")
        token = (await world.ask(A, "/latest/api/token", "PUT", **{TTL[0].replace("-", "_"): TTL[1]})).body.decode()
        request = await known(world, token)
        await world.clock.advance(59.0)
        assert quick(world, request) is not None
        await world.clock.advance(1.0)
        assert quick(world, request) is None
        assert (await answered(world, request)).status == 401

    asyncio.run(work())


def test_what_is_held_is_bounded_and_goes_with_its_session() -> None:
    """The oldest gives way; nothing is left of a pod that has gone."""

    async def work() -> None:
        world = World()
        hot = world.corridor.hot
        assert hot is not None
        hot._most = 3
        request = await known(world)
        for number in range(5):
            spelled = Request("GET", request.target, request.headers, peer=A, raw=request.raw + bytes([number]))
            assert (await answered(world, spelled)).status == 200
        assert len(hot) == 3
        world.pods.replace([])
        assert len(hot) == 0

    asyncio.run(work())

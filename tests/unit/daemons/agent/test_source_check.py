"""Whose token comes from where: judged in virtual time, with a cache behind it."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from rolecall.core.exchange import Request
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.daemons.agent.pods import NodePod, plain_address
from rolecall.daemons.agent.source_check import SourceCheck
from rolecall.edges.cache import CredentialCache
from rolecall.edges.telemetry import Log
from rolecall.errors import ServiceError, Upstream
from rolecall.mechanisms.pod_identity import door
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource


def ask(uid: str, peer: str, namespace: str = "ns") -> Ask:
    claims = {"exp": 4102444800, "kubernetes.io": {"namespace": namespace, "pod": {"name": "p", "uid": uid}}}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)] + [b"signature"]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return Ask(token=Secret(text), peer=peer)


def pod(uid: str, *addresses: str, host: bool = False, ended: bool = False) -> NodePod:
    return NodePod(uid, "here", addresses, host, ended)


class World:
    def __init__(self, *, enforce: bool = True) -> None:
        self.clock = FakeClock()
        self.source = FakeSource(self.clock, life=3600.0)
        self.cache = CredentialCache(self.source, clock=self.clock, dice=lambda: 0.0)
        self.api: dict[str, NodePod] = {}
        self.reads: list[str] = []
        self.check = SourceCheck(
            self.cache,
            self.read,
            node="here",
            enforce=enforce,
            own=("169.254.170.23", "fd00:ec2::23"),
            clock=self.clock,
            log=Log("rolecall.test_source_check"),
        )
        self.pods = self.check.pods

    async def read(self, namespace: str, name: str) -> NodePod:
        self.reads.append(f"{namespace}/{name}")
        if namespace not in self.api:
            raise Upstream("the API server is away")
        return self.api[namespace]


@pytest.mark.parametrize(
    ("uid", "peer", "word"),
    [
        ("a", "10.0.0.1", ""),
        ("a", "fd00::1", ""),
        ("a", "::ffff:10.0.0.1", ""),
        ("a", "10.0.0.2", "not-your-address"),
        ("a", "10.9.9.9", "not-your-address"),
        ("a", "169.254.170.23", "not-your-address"),
        ("a", "127.0.0.1", "not-your-address"),
        ("h", "192.168.0.1", ""),
        ("h", "169.254.170.23", ""),
        ("h", "10.0.0.1", "not-your-address"),
        ("h", "8.8.8.8", "not-your-address"),
        ("one", "10.0.0.7", "shared-address"),
        ("new", "10.0.0.8", "no-address-yet"),
        ("new", "10.0.0.1", "not-your-address"),
        ("new", "192.168.0.1", "not-your-address"),
        ("done", "10.0.0.9", "ended"),
        ("nobody", "10.0.0.1", "unknown-pod"),
        ("", "10.0.0.1", "no-pod"),
    ],
)
def test_who_may_ask_from_where(uid: str, peer: str, word: str) -> None:
    """Each pod from its own addresses; what is in the node's network from the node's; nobody from a shared one."""
    world = World()
    world.pods.replace(
        [
            pod("a", "10.0.0.1", "fd00::1"),
            pod("b", "10.0.0.2"),
            pod("h", "192.168.0.1", host=True),
            pod("one", "10.0.0.7"),
            pod("two", "10.0.0.7"),
            pod("new"),
            pod("done", ended=True),
        ]
    )
    assert world.check.judge(uid, peer) == word


def test_a_stolen_token_is_refused_and_a_pods_end_ends_its_credentials() -> None:
    """Also what is on its way when the pod ends is not kept."""

    async def work() -> None:
        world = World()
        world.pods.replace([pod("a", "10.0.0.1"), pod("b", "10.0.0.2")])
        assert await world.check(ask("a", "10.0.0.1"))
        assert world.check.held(ask("a", "10.0.0.1"))
        assert world.check.held(ask("a", "10.0.0.2")) is None
        with pytest.raises(ServiceError) as refused:
            await world.check(ask("a", "10.0.0.2"))
        assert (refused.value.code, refused.value.status) == ("not-your-address", 403)
        world.pods.drop(pod("a", "10.0.0.1"))
        assert len(world.cache) == 0
        world.pods.put(pod("c", "10.0.0.3"))
        flight = asyncio.create_task(world.check(ask("c", "10.0.0.3")))
        await asyncio.sleep(0)
        world.pods.put(pod("c", ended=True))
        await asyncio.gather(flight, return_exceptions=True)
        assert len(world.cache) == 0

    asyncio.run(work())


def test_a_warning_costs_nobody_anything() -> None:
    """It is counted, and served."""

    async def work() -> None:
        world = World(enforce=False)
        world.pods.replace([pod("a", "10.0.0.1")])
        for _ in range(2):
            assert await world.check(ask("a", "10.0.0.2"))
        assert world.check.found == {"not-your-address": 2}

    asyncio.run(work())


def test_a_late_pod_is_read_once_and_waited_for() -> None:
    """By the API server's word or its event; one that nobody knows in time may come again."""

    async def work() -> None:
        world = World()
        world.api["ns"] = pod("late", "10.0.0.5")
        assert await world.check(ask("late", "10.0.0.5"))
        waiting = asyncio.create_task(world.check(ask("event", "10.0.0.6", "away")))
        await world.clock.advance(0.2)
        world.pods.put(pod("event", "10.0.0.6"))
        await world.clock.advance(0.0)
        assert await waiting
        unknown = asyncio.create_task(world.check(ask("x", "10.0.0.9", "away")))
        await world.clock.advance(0.6)
        with pytest.raises(ServiceError) as refused:
            await unknown
        assert refused.value.status == 503
        forged = asyncio.create_task(world.check(ask("y", "10.0.0.9", "../../secrets")))
        await world.clock.advance(0.6)
        with pytest.raises(ServiceError):
            await forged
        assert world.reads == ["ns/p", "away/p", "away/p"]

    asyncio.run(work())


def test_addresses_have_one_spelling() -> None:
    """Zones and mapped addresses are the kernel's way of showing them."""
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert plain_address("FD00:0::1") == "fd00::1"


class Watching:
    """The watch, as far as its state goes."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.streaming, self.listed = failing, not failing, asyncio.Event()


@pytest.mark.parametrize("failing", ["", "the API server is away"])
def test_who_is_known_to_live(failing: str) -> None:
    """A pod that was seen and has not ended, while the API server tells of changes; what it told before may be over."""
    world = World()
    world.check.watch_with(Watching(failing), None)  # type: ignore[arg-type]
    world.pods.replace([pod("a", "10.0.0.1"), pod("done", ended=True)])
    assert [world.check.lives(uid) for uid in ("a", "done", "nobody", "")] == [not failing, False, False, False]


@pytest.mark.parametrize("enforce", [False, True])
def test_one_that_would_refuse_all_says_so(enforce: bool) -> None:
    """Until the first list has come."""
    world = World(enforce=enforce)
    watch = Watching("pods is forbidden")
    world.check.watch_with(watch, None)  # type: ignore[arg-type]
    assert world.check.unready() == ("this node's pods are not known yet: pods is forbidden" if enforce else "")
    watch.listed.set()
    assert world.check.unready() == ""


def test_a_token_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a request is looked at on its way; and the memory of it is bounded."""
    read: list[Ask] = []
    payload_of = door.payload_of
    monkeypatch.setattr(door, "payload_of", lambda ask: read.append(ask) or payload_of(ask))

    async def work() -> None:
        world = World()
        world.pods.replace([pod("a", "10.0.0.1")])
        learn = world.check.learning(lambda *_: None)
        asked = ask("a", "10.0.0.1")
        assert world.check.held(asked) is None
        learn(Request("GET", "/v1/credentials", ()), asked, await world.check(asked))
        assert len(read) == 1
        for number in range(1000):
            world.check.held(ask(f"{number}", "10.0.0.1"))
        assert len(world.check._read_lately) <= 256

    asyncio.run(work())

"""What the admin socket shows: whose entries there are and how they stand, bounded, and no secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rolecall.core.exchange import Reply, Request
from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued, Subject
from rolecall.daemons.agent import wire
from rolecall.daemons.agent.build import build
from rolecall.daemons.agent.config import read_config
from rolecall.daemons.agent.listeners import Listeners
from rolecall.daemons.agent.status import MOST, StatusDoor
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_rules import CacheRules
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream, UpstreamAnswered
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

ENV = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
GET = Request("GET", "/status", ())


class World:
    """An agent whose issuer says whom it issues to, and its status."""

    def __init__(self) -> None:
        config = read_config(["serve", "-c", "demo"], ENV)
        self.clock = FakeClock()
        self.source = FakeSource(self.clock, life=3600)
        self.agent = build(config, self.clock, Log())
        self.agent.cache = CredentialCache(
            self.issue, clock=self.clock, dice=lambda: 0.0, rules=CacheRules(size=5000, service_qps=1e6, renewals=5000)
        )
        self.listeners = Listeners(config, self.clock, Log())
        self.listeners.bound = {"169.254.170.23": "169.254.170.23:80"}
        self.door = StatusDoor(self.agent, self.listeners, self.clock)

    async def issue(self, ask: Ask) -> Issued:
        """Issue to the service account that is called like the token, whatever the token says of itself."""
        assert ask.token is not None
        subject = Subject(Namespace("ns"), ServiceAccountName(ask.token.reveal().lower()))
        return replace(await self.source(ask), subject=subject, association_id="a-1")

    async def fetch(self, *names: str) -> None:
        """Ask for these pods."""
        for name in names:
            await self.agent.cache(Ask(token=Secret(name), peer="10.0.0.7"))


@pytest.fixture
def world() -> Iterator[World]:
    """One for each test."""
    made = World()
    yield made
    made.agent.http.close()


def test_an_entry_is_shown_without_what_it_opens(world: World) -> None:
    """Whose it is by the issuer's word, how old, until when, what comes next; JSON as documented."""
    token = "a-token-that-nobody-may-see"

    async def story() -> None:
        await world.fetch(token)
        await world.clock.advance(60)
        world.agent.cache.held(Ask(token=Secret(token)))

    asyncio.run(story())
    reply = world.door(GET)
    assert (reply.status, dict(reply.headers)["content-type"]) == (200, "application/json")
    said = json.loads(reply.body)
    assert said["signs_with"] == {
        "source": "environment", "where": "AWS_ACCESS_KEY_ID", "expires": None, "last_error": None
    }  # fmt: skip
    assert said["entries"] == [
        {
            "namespace": "ns",
            "service_account": token,
            "association": "a-1",
            "role_session": "arn:aws:sts::123456789012:assumed-role/demo/s1",
            "peer": "10.0.0.7",
            "state": "fresh",
            "age_seconds": 60.0,
            "expires": "2023-11-14T23:13:20Z",
            "ends_in_seconds": 3600.0 - 15 - 60,
            "renewal": "planned",
            "renews_in_seconds": 1800.0 - 60,
            "last_error": None,
            "hits": 1,
            "door": "pod-identity",
        }
    ]
    assert (said["totals"]["entries"], said["totals"]["states"], said["totals"]["hits"]) == (1, {"fresh": 1}, 1)
    assert (said["uptime_seconds"], said["ready"], said["entries_not_shown"]) == (60.0, True, 0)
    text = reply.body.decode()
    for hidden in ("secret-of-s1", "session-of-s1", "ASIAIOSFODNN7EXAMPLE"):
        assert hidden not in text


def test_what_needs_a_look_comes_first(world: World) -> None:
    """Failed renewals, then what ends first, whatever came first."""

    async def story() -> None:
        world.agent.cache.start()
        await world.fetch("failing")
        await world.clock.advance(600)
        world.source.life = 7200
        await world.fetch("long")
        world.source.life = 3600
        await world.fetch("short")
        world.source.failure = UpstreamAnswered(status=429, code="ThrottlingException", message="slow down")
        await world.clock.advance(1200)
        found = world.door.found()
        assert [(one.service_account, one.last_error) for one in found.entries] == [
            ("failing", "ThrottlingException"), ("short", None), ("long", None),
        ]  # fmt: skip
        await world.agent.cache.close()

    asyncio.run(story())


def test_the_answer_is_bounded(world: World) -> None:
    """A thousand entries, and how many more there are."""
    asyncio.run(world.fetch(*(f"pod-{n}" for n in range(MOST + 7))))
    found = world.door.found()
    assert (len(found.entries), found.entries_not_shown, found.totals.entries) == (1000, 7, 1007)
    assert len(world.door(GET).body) < 1_000_000


@pytest.mark.parametrize("request_", [replace(GET, method="POST"), replace(GET, target="/"), replace(GET, target="/x")])
def test_there_is_nothing_else(world: World, request_: Request) -> None:
    """Nobody can change anything there."""
    assert world.door(request_).status == 404


def test_what_is_no_status_is_refused(world: World) -> None:
    """By who reads it: another program may listen there. What was written is read."""
    reply = world.door(GET)
    assert isinstance(reply, Reply)
    assert wire.decode(reply.body) == world.door.found()
    for body in (b"", b"{}", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(Upstream):
            wire.decode(body)

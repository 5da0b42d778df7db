"""The door's short way: equal bytes, equal answers, for as long as the cache may serve them, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.exchange import Reply, Request
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.daemons.agent.hot_path import LONGEST, MOST_OF_ONE, HotPath
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_rules import CacheRules
from rolecall.errors import Upstream
from rolecall.mechanisms.pod_identity import door
from rolecall.testing.fake_clock import FakeClock

LIFE = 3600.0


def ask_of(name: str) -> Ask:
    """Return the question of one pod."""
    return Ask(token=Secret(f"token of {name}"), peer="10.0.0.7")


def request_of(name: str, **changes: object) -> Request:
    """Return a request whose bytes are its own."""
    return replace(Request("GET", "/v1/credentials", (), peer="10.0.0.7", raw=f"GET {name}".encode()), **changes)


class World:
    """A cache over a source that issues numbered credentials, and the hot path before it."""

    def __init__(self, *, size: int = 100, most: int = 100) -> None:
        self.clock, self.issued, self.hits = FakeClock(), 0, []
        self.cache = CredentialCache(
            self.source, clock=self.clock, dice=lambda: 0.0, rules=CacheRules(size=size), token_ends=lambda _: self.ends
        )
        self.ends: float | None = None
        self.away = False
        self.hot = HotPath(
            self.cache,
            lambda issued: Reply(200, issued.credentials.access_key_id.encode()),
            clock=self.clock,
            hit=lambda peer, issued: self.hits.append((peer, issued.credentials.access_key_id)),
            most=most,
        )

    async def source(self, ask: Ask) -> Issued:
        if self.away:
            raise Upstream("EKS Auth is away")
        self.issued += 1
        expires = self.clock.now() + LIFE
        found = Credentials(f"ASIA{self.issued}", Secret("s"), Secret("t"), expires, AccountId("123456789012"))
        return Issued(found, "arn:aws:sts::123456789012:assumed-role/r/s", "AROA:s")

    async def asked(self, name: str, **changes: object) -> Request:
        """Ask the long way, and let the hot path learn of it."""
        request = request_of(name, **changes)
        self.hot.learn(request, ask_of(name), await self.cache(ask_of(name)))
        return request

    def body(self, raw: bytes, peer: str = "10.0.0.7") -> bytes | None:
        """Return the body of the short way's answer, if it has one."""
        found = self.hot.answer(raw, peer)
        return None if found is None else found[0].partition(b"\r\n\r\n")[2]


def run(work: Coroutine[object, object, None]) -> None:
    """Run a test's coroutine."""
    asyncio.run(work)


def test_equal_bytes_get_the_answer_and_others_do_not() -> None:
    """A whole HTTP answer, counted as a hit of the cache; one byte more is another request."""

    async def work() -> None:
        world = World()
        request = await world.asked("a")
        answer = world.hot.answer(request.raw, "10.0.0.7")
        assert answer is not None
        head, _, body = answer[0].partition(b"\r\n\r\n")
        assert (body, answer[1]) == (b"ASIA1", True)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length: 5\r\n" in head
        assert b"date: Tue, 14 Nov 2023 22:13:20 GMT" in head
        assert world.body(request.raw + b" ") is None
        assert world.cache.counters.hits == 1
        assert world.hits == [("10.0.0.7", "ASIA1")]

    run(work())


def test_nothing_is_served_past_its_end() -> None:
    """Not when the credential is over, not when its token is, and not after the entry has gone."""

    async def work() -> None:
        world = World()
        request = await world.asked("a")
        world.away = True
        await world.clock.advance(LIFE - 20)
        assert world.body(request.raw) == b"ASIA1"
        await world.clock.advance(6)  # what is nearly over counts as over: a signature made now would arrive too late
        assert world.body(request.raw) is None
        assert len(world.hot) == 0
        world.away, world.ends = False, world.clock.now() + 10
        request = await world.asked("b")
        await world.clock.advance(10)
        assert world.body(request.raw) is None

    run(work())


def test_a_renewed_credential_is_the_one_that_is_served() -> None:
    """The short way holds no credential of its own."""

    async def work() -> None:
        world = World()
        request = await world.asked("a")
        world.cache.start()
        await world.clock.advance(LIFE / 2 + 1)
        assert world.issued == 2
        assert world.body(request.raw) == b"ASIA2"
        await world.cache.close()

    run(work())


def test_the_same_bytes_from_another_address_are_read_again() -> None:
    """Whatever a door decides by address, it decides for each."""

    async def work() -> None:
        world = World()
        request = await world.asked("a")
        assert world.body(request.raw, "10.0.0.8") is None

    run(work())


@pytest.mark.parametrize(
    "changes",
    [{"method": "HEAD"}, {"raw": b""}, {"raw": b"x" * (LONGEST + 1)}],
    ids=["HEAD", "came with others", "long"],
)
def test_what_is_not_learned(changes: dict[str, object]) -> None:
    """An answer without a body, bytes that were more than one request, and what would cost much memory."""

    async def work() -> None:
        world = World()
        await world.asked("a", **changes)
        assert len(world.hot) == 0

    run(work())


def test_a_client_that_closes_is_told_so() -> None:
    """Its connection does not stay."""

    async def work() -> None:
        world = World()
        request = await world.asked("a", last=True)
        answer = world.hot.answer(request.raw, "10.0.0.7")
        assert answer is not None
        assert (b"connection: close\r\n" in answer[0], answer[1]) == (True, False)

    run(work())


def test_it_is_bounded_and_forgets_what_was_learned_first() -> None:
    """By the number of requests; a client with ever other headers pushes out its own only. What was forgotten is read
    once more, and known again."""

    async def work() -> None:
        world = World(most=10)
        others = [await world.asked(f"other-{number}") for number in range(5)]
        for number in range(50):
            await world.asked("a", raw=f"GET a {number}".encode())
        assert len(world.hot) == 5 + MOST_OF_ONE
        assert all(world.body(request.raw) for request in others)
        last = [await world.asked(f"more-{number}") for number in range(6)]
        assert len(world.hot) == 10
        assert all(world.body(request.raw) for request in last)
        assert [world.body(request.raw) is None for request in others] == [True] * 4 + [False]
        await world.asked("other-0")
        assert world.body(others[0].raw)
        assert len(world.hot) == 10

    run(work())


def test_with_an_entry_all_its_requests_go() -> None:
    """Evicted, revoked or over: what it held would only be in the way; those of other entries stay."""

    async def work() -> None:
        world = World(size=2)
        for number in range(MOST_OF_ONE):
            await world.asked("a", raw=f"GET a {number}".encode())
        kept = await world.asked("b")
        assert len(world.hot) == MOST_OF_ONE + 1
        await world.asked("c")
        assert len(world.hot) == 2, "b's and c's: a was evicted"
        assert world.body(kept.raw) == b"ASIA2"
        world.cache.revoke_all()
        assert len(world.hot) == 0

    run(work())


def test_credentials_are_held_once() -> None:
    """By the answer, of which they are parts, and by one answer for all spellings; renewed ones by a new one."""

    async def work() -> None:
        world = World()
        world.hot = HotPath(world.cache, door.render, clock=world.clock, hit=lambda peer, issued: None, most=9)
        world.cache.start()
        request, other = await world.asked("a"), await world.asked("a", raw=b"another spelling")
        for age in (0, LIFE / 2 + 1):
            await world.clock.advance(age)
            bodies = [world.body(other.raw), world.body(request.raw)]
            issued = world.cache.held(ask_of("a"))
            assert issued is not None
            assert bodies == [door.render(issued).body] * 2
            kept = {id(world.hot._known[raw].body) for raw in (request.raw, other.raw)}
            assert kept == {id(issued.credentials.session_token._Secret__value)}
            assert kept == {id(issued.credentials.secret_access_key._Secret__value)}
            assert issued.credentials.session_token.reveal() == "t"
        assert world.issued == 2
        await world.cache.close()

    run(work())


def test_a_cache_that_holds_nothing_is_never_passed_by() -> None:
    """Size 0: every request is asked upstream, and none is kept."""

    async def work() -> None:
        world = World(size=0)
        request = await world.asked("a")
        assert world.body(request.raw) is None
        assert len(world.hot) == 0

    run(work())

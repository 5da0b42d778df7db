"""What the server revoked is forgotten within seconds; an outage forgets nothing. All in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from rolecall.core.names import ClusterName
from rolecall.core.records import Revocations
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.daemons.agent.revocations import EVERY, RevocationWatch
from rolecall.edges.aws.revocations import NotOffered
from rolecall.edges.cache import CredentialCache
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

CLUSTER = ClusterName("c")


class World:
    """A cache over a source that names an association for every pod, and a server with a list of revocations."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.source = FakeSource(self.clock, life=3600.0)
        self.cache = CredentialCache(self.associated, clock=self.clock, dice=lambda: 0.0)
        self.log: list[str] = []
        self.failure: Exception | None = None
        self.asked: list[int] = []
        self.first = 1
        self.watch = RevocationWatch(
            self.ask, self.cache, clusters=lambda: (CLUSTER,), clock=self.clock, log=Log("rolecall.test_revocations")
        )

    async def associated(self, ask: Ask) -> object:
        """Issue credentials by the association that is named like the pod."""
        assert ask.token is not None
        return replace(await self.source(ask), association_id=f"a-{ask.token.reveal()}")

    async def ask(self, cluster: ClusterName, after: int) -> Revocations:
        """Answer as the plane's store does."""
        self.asked.append(after)
        if self.failure is not None:
            raise self.failure
        last = self.first + len(self.log) - 1
        ids = tuple(dict.fromkeys(self.log[max(0, after - self.first + 1) :])) if after >= 0 else ()
        return Revocations(last, ids, after < 0 or self.first - 1 <= after <= last)

    async def fetch(self, *names: str) -> None:
        """Ask for these pods."""
        for name in names:
            await self.cache(Ask(token=Secret(name)))

    def held(self, name: str) -> bool:
        """Whether a pod's credentials are held."""
        return self.cache.held(Ask(token=Secret(name))) is not None


def play(scene: Callable[[World], Awaitable[None]]) -> World:
    """Run a scene while the watch runs."""

    async def run() -> World:
        world = World()
        task = asyncio.create_task(world.watch.run())
        await world.clock.advance(0)
        await scene(world)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return world

    return asyncio.run(run())


def test_a_deleted_association_is_forgotten_and_others_are_not() -> None:
    """Within one interval; each question goes on where the one before ended."""

    async def scene(world: World) -> None:
        await world.fetch("one", "two")
        world.log.append("a-one")
        await world.clock.advance(EVERY)
        assert (world.held("one"), world.held("two")) == (False, True)
        await world.clock.advance(0.1)
        await world.fetch("one")
        await world.clock.advance(10 * EVERY)
        assert world.held("one"), "it is revoked once, not for ever"

    assert play(scene).asked[:3] == [-1, 0, 1]


def test_an_answer_that_was_on_its_way_is_not_held() -> None:
    """Upstream decided before the revocation: its answer serves who waits for it, and nobody after."""

    async def scene(world: World) -> None:
        world.source.delay = 3 * EVERY
        waiting = asyncio.create_task(world.cache(Ask(token=Secret("one"))))
        await world.clock.advance(EVERY / 2)
        world.log.append("a-one")
        await world.clock.advance(4 * EVERY)
        assert (await waiting).association_id == "a-one"
        assert not world.held("one")

    play(scene)


def test_an_outage_forgets_nothing_and_is_made_good_after() -> None:
    """A server that cannot be asked costs no pod its credentials; what it revoked meanwhile is not missed."""

    async def scene(world: World) -> None:
        await world.fetch("one", "two")
        world.failure = Upstream("away")
        world.log.append("a-one")
        await world.clock.advance(20 * EVERY)
        assert world.held("one")
        world.failure = None
        await world.clock.advance(EVERY)
        assert (world.held("one"), world.held("two")) == (False, True)

    play(scene)


def test_a_list_with_a_gap_forgets_everything() -> None:
    """Where some may be missing, none is believed to be known: the next who ask are asked for upstream."""

    async def scene(world: World) -> None:
        await world.fetch("one", "two")
        world.first = 50_000
        await world.clock.advance(EVERY)
        assert not world.held("one")
        assert not world.held("two")

    play(scene)


def test_what_came_before_the_first_answer_is_not_trusted() -> None:
    """A server that could not be asked at first may have revoked what was issued meanwhile."""

    async def scene(world: World) -> None:
        world.asked.clear()
        world.watch._seen.clear()
        await world.fetch("one")
        await world.clock.advance(EVERY)
        assert world.asked[0] == -1
        assert not world.held("one")

    play(scene)


def test_a_server_without_such_a_list_is_left_alone() -> None:
    """AWS's own: asked once, and never again."""

    async def run() -> World:
        world = World()
        world.failure = NotOffered("no such list")
        await asyncio.wait_for(world.watch.run(), 5)
        return world

    assert len(asyncio.run(run()).asked) == 1


def test_unanswered_is_a_server_that_was_asked_in_vain() -> None:
    """Not one that has not been asked yet, nor one that has answered once; its first answer also ends what waits."""

    async def run() -> None:
        world = World()
        recall = world.cache.recall = Waiting()
        task = asyncio.create_task(world.watch.run())
        assert not world.watch.unanswered
        world.failure = Upstream("no route")
        await world.clock.advance(0)
        assert (world.watch.unanswered, recall.forgotten) == (True, 0)
        world.failure = None
        await world.clock.advance(EVERY)
        assert (world.watch.unanswered, recall.forgotten) == (False, 1)
        world.failure = Upstream("no route")
        await world.clock.advance(EVERY)
        assert not world.watch.unanswered
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


class Waiting:
    """What an agent before held, as far as forgetting goes."""

    forgotten = 0

    def take(self, _token: bytes, _ask: Ask) -> None:
        """Hand out nothing."""

    def forget(self, _association_ids: object = None) -> None:
        """Count it."""
        self.forgotten += 1

"""The cache under any order of events: hypothesis plays clients, upstream, time and the operator's clock."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_rules import CacheRules
from rolecall.errors import Upstream, UpstreamAnswered
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

SIZE = 2
NAMES = st.sampled_from(["a", "b", "c"])
FAILURES = st.sampled_from(
    [
        None,
        Upstream("no route"),
        UpstreamAnswered(status=429, code="ThrottlingException", message="slowly"),
        UpstreamAnswered(status=400, code="AccessDeniedException", message="no"),
        UpstreamAnswered(status=404, code="ResourceNotFoundException", message="none"),
        ZeroDivisionError("a defect"),
    ]
)


class Machine(RuleBasedStateMachine):
    """Real time is told to the cache by a clock that may be set wrong; what upstream issues ends in real time."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.source = FakeSource(self.clock)
        self.real_ends: dict[str, float] = {}  # session → monotonic end
        self.gone: set[str] = set()  # names that upstream has just denied for good
        self.asking = dict.fromkeys("abc", False)
        self.faults: list[str] = []
        self.waiting: dict[str, list[asyncio.Task[Issued]]] = {}
        self.cache = CredentialCache(
            self._source, clock=self.clock, dice=lambda: 0.5, rules=CacheRules(size=SIZE, service_qps=1.0)
        )

    async def _source(self, ask: Ask) -> Issued:
        name = ask.token.reveal() if ask.token else ""
        if self.asking[name]:
            self.faults.append("a question was asked twice at once")  # raising here would only tell the cache
        self.asking[name] = True
        life = self.source.life
        try:
            issued = await self.source(ask)
        except UpstreamAnswered as error:
            if error.code == "ResourceNotFoundException":
                self.gone.add(name)
            raise
        finally:
            self.asking[name] = False
        self.gone.discard(name)
        self.real_ends[issued.assumed_role_id] = self.clock.monotonic() + life
        return issued

    @initialize()
    def begin(self) -> None:
        """Start renewing."""
        self.do(self._start())

    async def _start(self) -> None:
        self.cache.start()

    def do(self, work: Any) -> Any:
        """Run a coroutine, then let everything settle."""
        return self.runner.run(work)

    @rule()
    def look(self) -> None:
        """What is held may be served."""

        async def scene() -> None:
            for name in "abc":
                found = self.cache.held(Ask(token=Secret(name)))
                if found is None:
                    continue
                assert self.clock.monotonic() < self.real_ends[found.assumed_role_id], "served past its end"
                assert name not in self.gone, "served after upstream said that there is no association"

        self.do(scene())

    @rule(name=NAMES, count=st.integers(1, 3))
    def ask(self, name: str, count: int) -> None:
        """Clients ask, and are left waiting."""

        async def scene() -> None:
            for _ in range(count):
                self.waiting.setdefault(name, []).append(asyncio.create_task(self.cache(Ask(token=Secret(name)))))
            await self.clock.advance(0.0)

        self.do(scene())

    @rule(name=NAMES)
    def go_away(self, name: str) -> None:
        """A client that waits is cancelled."""
        if self.waiting.get(name):
            self.waiting[name][0].cancel()
            self.do(self.clock.advance(0.0))

    @rule(failure=FAILURES, delay=st.sampled_from([0.0, 0.0, 20.0, 50.0]), life=st.sampled_from([60.0, 600.0]))
    def turn(self, failure: Exception | None, delay: float, life: float) -> None:
        """Upstream changes its mind."""
        self.source.failure, self.source.delay, self.source.life = failure, delay, life

    @rule(seconds=st.sampled_from([1.0, 35.0, 320.0, 580.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.do(self.clock.advance(seconds))

    @rule(seconds=st.sampled_from([-86_400.0, -100.0, 100.0, 86_400.0]))
    def set_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock while nothing is under way, so that both sides tell the same time again."""
        if not any(self.asking.values()):
            self.clock.step(seconds)

    @invariant()
    def stays_within_bounds(self) -> None:
        """Never more entries than allowed, never two calls for one question."""
        assert not self.faults
        assert len(self.cache) <= SIZE

    def teardown(self) -> None:
        """Whoever still waits is answered once upstream answers; then everything ends."""

        async def scene() -> None:
            self.source.failure, self.source.delay = None, 0.0
            await self.clock.advance(60.0)
            waiting = [task for tasks in self.waiting.values() for task in tasks]
            assert all(task.done() for task in waiting), "a waiter was forgotten"
            await asyncio.gather(*waiting, return_exceptions=True)
            await self.cache.close()
            await self.clock.advance(0.0)
            assert self.clock.sleepers == 0

        self.do(scene())
        self.runner.close()


Machine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestCacheMachine = Machine.TestCase

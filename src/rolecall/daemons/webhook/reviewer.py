"""Answers reviews: wait until everything is known, gather, decide, count, and write one line.

Never is a pod let through unchanged because something is not known yet: then the answer is 503, and the API server
does what the webhook's failurePolicy says.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.webhook import door
from rolecall.daemons.webhook.gather import Gatherer
from rolecall.daemons.webhook.rules import Facts
from rolecall.edges.clock import Clock, within
from rolecall.edges.limits import TokenBucket
from rolecall.edges.metrics import Histogram, count
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, RolecallError

LINES_A_SECOND = 50.0
"""Log lines on average; ten seconds' worth may come at once. Others are counted, not written."""
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)


class Question(Protocol):
    """A review that was read."""

    @property
    def account(self) -> tuple[str, str] | None:
        """Namespace and name of the service account to gather facts about; None where the answer needs none."""

    @property
    def shown(self) -> dict[str, object]:
        """What the log says of it: namespace, pod, service account, uid, operation."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer in bytes, and what is said of it: reason, notes, and the generation that was injected or ""."""

    body: bytes
    reason: str
    notes: tuple[str, ...] = ()
    generation: str = ""


class Judge(Protocol):
    """The decision: pure."""

    def read(self, body: bytes) -> Question:
        """Read a review; raises `BadInput` for what is none."""

    def decide(self, question: Question, facts: Facts) -> Verdict:
        """Answer it."""


class Reviewer:
    """Answers what comes to the HTTPS port, and counts it.

    `replies` counts answers by status, `refusals` by word those that are no review's, `reasons` how reviews ended,
    `injected` those that gave a pod something, by generation. `unwritten` counts log lines left out.
    """

    def __init__(self, judge: Judge, gatherer: Gatherer, *, most: int, clock: Clock, log: Log) -> None:
        self._judge, self._gatherer, self._most = judge, gatherer, most
        self._clock, self._log = clock, log
        self._lines = TokenBucket(rate=LINES_A_SECOND, burst=10 * LINES_A_SECOND, clock=clock)
        self.replies: dict[int, int] = {}
        self.refusals: dict[str, int] = {}
        self.reasons: dict[str, int] = {}
        self.injected: dict[str, int] = {}
        self.unknown_accounts = 0
        self.waiting = 0
        self.took = Histogram(SECONDS)
        self.unwritten = 0

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the answer, at once where everything is known."""
        asked = door.parse(request)
        if isinstance(asked, Reply):
            return self._count(asked)
        started = self._clock.monotonic()
        if self._gatherer.missing:
            return self._later(asked, started, None)
        try:
            question = self._judge.read(asked.body)
        except BadInput as fault:
            return self._count(door.text(400, f"{fault.message}\n", "unreadable"))
        account = question.account
        facts = Facts() if account is None else self._gatherer.known(*account)
        return self._later(asked, started, question) if facts is None else self._decide(question, facts, started)

    def _later(self, asked: door.Asked, started: float, question: Question | None) -> Reply | Awaitable[Reply]:
        if self.waiting >= self._most:
            return self._count(door.text(503, "too many reviews at once\n", "too-many", retry=True))
        return self._wait(asked, started, question)

    async def _wait(self, asked: door.Asked, started: float, question: Question | None) -> Reply:
        self.waiting += 1
        try:
            return await within(self._clock, asked.within, self._ask(asked, started, question))
        except TimeoutError:
            missing = ", ".join(self._gatherer.missing) or "a service account that is not known yet"
            self._log.warning("review.too_late", waited_for=missing)
            return self._count(door.text(503, f"still waiting for: {missing}\n", "not-listed", retry=True))
        except BadInput as fault:
            return self._count(door.text(400, f"{fault.message}\n", "unreadable"))
        except RolecallError as fault:
            self._log.warning("review.not_answered", why=fault.message, **({} if question is None else question.shown))
            return self._count(door.text(503, f"{fault.message}\n", "not-known", retry=True))
        finally:
            self.waiting -= 1

    async def _ask(self, asked: door.Asked, started: float, question: Question | None) -> Reply:
        await self._gatherer.listed()
        question = question or self._judge.read(asked.body)
        account = question.account
        facts = Facts() if account is None else self._gatherer.known(*account)
        if facts is None and account is not None:
            facts = await self._gatherer.ask(*account)
            self.unknown_accounts += facts.annotations is None
        assert facts is not None
        return self._decide(question, facts, started)

    def _decide(self, question: Question, facts: Facts, started: float) -> Reply:
        found = self._judge.decide(question, facts)
        count(self.reasons, found.reason)
        if found.generation:
            count(self.injected, found.generation)
        took = self._clock.monotonic() - started
        self.took.observe(took)
        self._note(question, found, took)
        return self._count(Reply(200, found.body, door.JSON))

    def _note(self, question: Question, found: Verdict, took: float) -> None:
        if not self._log.informs:
            return
        if not self._lines.take():
            self.unwritten += 1
            return
        fields = dict(question.shown)
        if found.notes:
            fields["notes"] = list(found.notes)
        self._log.info("review.answered", reason=found.reason, ms=round(took * 1000, 2), **fields)

    def _count(self, reply: Reply) -> Reply:
        self.replies[reply.status] = self.replies.get(reply.status, 0) + 1
        if reply.reason:
            count(self.refusals, reply.reason)
        return reply

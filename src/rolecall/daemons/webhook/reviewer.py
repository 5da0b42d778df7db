"""Answers reviews: wait until everything is known, gather, decide, count, and write one line.

Never is a pod let through unchanged because something is not known yet: then the answer is 503, and the API server
does what the webhook's failurePolicy says.
"""

from __future__ import annotations

from collections.abc import Awaitable

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.webhook import door
from rolecall.daemons.webhook.decide import Dice
from rolecall.daemons.webhook.gather import Gatherer
from rolecall.daemons.webhook.review import Answer, BadReview, Review, answer, read
from rolecall.daemons.webhook.rules import Facts, Rules
from rolecall.edges.clock import Clock, within
from rolecall.edges.limits import TokenBucket
from rolecall.edges.metrics import Histogram, count
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

LINES_A_SECOND = 50.0
"""Log lines on average; ten seconds' worth may come at once. Others are counted, not written."""
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)


class Reviewer:
    """Answers what comes to the HTTPS port, and counts it.

    `replies` counts answers by status, `refusals` by word those that are no review's, `reasons` how reviews ended,
    `injected` those that gave a pod something, by generation. `unwritten` counts log lines left out.
    """

    def __init__(self, rules: Rules, gatherer: Gatherer, *, most: int, dice: Dice, clock: Clock, log: Log) -> None:
        self._rules, self._gatherer, self._most, self._dice = rules, gatherer, most, dice
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
        if not self._gatherer.complete:
            return self._later(asked, started, None)
        try:
            review = read(asked.body)
        except BadReview as fault:
            return self._count(door.text(400, f"{fault.message}\n", "unreadable"))
        facts = self._known(review)
        return self._later(asked, started, review) if facts is None else self._decide(review, facts, started)

    def _known(self, review: Review) -> Facts | None:
        account = review.account
        return Facts() if account is None else self._gatherer.known(account.namespace, account.name)

    def _later(self, asked: door.Asked, started: float, review: Review | None) -> Reply | Awaitable[Reply]:
        if self.waiting >= self._most:
            return self._count(door.text(503, "too many reviews at once\n", "too-many", retry=True))
        return self._wait(asked, started, review)

    async def _wait(self, asked: door.Asked, started: float, review: Review | None) -> Reply:
        self.waiting += 1
        try:
            return await within(self._clock, asked.within, self._ask(asked, started, review))
        except TimeoutError:
            missing = ", ".join(self._gatherer.missing) or "the service account"
            self._log.warning("review.too_late", waited_for=missing)
            return self._count(door.text(503, f"still waiting for: {missing}\n", "not-listed", retry=True))
        except BadReview as fault:
            return self._count(door.text(400, f"{fault.message}\n", "unreadable"))
        except RolecallError as fault:
            self._log.warning("review.not_answered", why=fault.message, **_shown(review))
            return self._count(door.text(503, f"{fault.message}\n", "not-known", retry=True))
        finally:
            self.waiting -= 1

    async def _ask(self, asked: door.Asked, started: float, review: Review | None) -> Reply:
        await self._gatherer.listed()
        review = review or read(asked.body)
        facts = self._known(review)
        if facts is None and (account := review.account) is not None:
            facts = await self._gatherer.ask(account.namespace, account.name)
            self.unknown_accounts += facts.annotations is None
        return self._decide(review, facts or Facts(), started)

    def _decide(self, review: Review, facts: Facts, started: float) -> Reply:
        found = answer(review, facts, self._rules, self._dice)
        count(self.reasons, found.word)
        if found.generation is not None:
            count(self.injected, found.generation)
        took = self._clock.monotonic() - started
        self.took.observe(took)
        self._note(review, found, took)
        return self._count(Reply(200, found.body, door.JSON))

    def _note(self, review: Review, found: Answer, took: float) -> None:
        if not self._log.informs:
            return
        if not self._lines.take():
            self.unwritten += 1
            return
        verdict, fields = found.verdict, _shown(review)
        if verdict.because:
            fields["because"] = verdict.because
        if verdict.notes:
            fields["notes"] = [note.text for note in verdict.notes]
        self._log.info(
            "review.answered",
            reason=verdict.reason,
            allowed=verdict.allowed,
            generation=found.generation or "",
            ms=round(took * 1000, 2),
            **fields,
        )

    def _count(self, reply: Reply) -> Reply:
        self.replies[reply.status] = self.replies.get(reply.status, 0) + 1
        if reply.reason:
            count(self.refusals, reply.reason)
        return reply


def _shown(review: Review | None) -> dict[str, object]:
    """Return what the log says of a review."""
    if review is None:
        return {}
    fields: dict[str, object] = {"uid": review.uid, "namespace": review.namespace, "pod": review.pod_name}
    if review.account is not None:
        fields["service_account"] = review.account.name
    return fields

"""The corridor between a door and a source: parse, ask, render, and one log line for each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges.clock import Clock
from rolecall.edges.limits import TokenBucket
from rolecall.edges.metrics import Histogram, count
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, ServiceError

Parse = Callable[[Request], Ask | Reply]
Render = Callable[[Issued], Reply]
RenderError = Callable[[RolecallError], Reply]
Learn = Callable[[Request, Ask, Issued], None]
Refused = Callable[[Request, str, int, str], None]
"""Told of a request that was refused here, without asking anybody: the request, a stable word, the status, why."""

SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""The bounds of latency histograms. SDKs wait for one or two seconds, an answer of upstream takes up to six."""

LINES_A_SECOND = 50.0
"""Log lines of one door on average; ten seconds' worth may come at once. Others are counted, not written."""


class Corridor:
    """Answers the requests of one door, and counts its replies by status, and its refusals by their word.

    `held` returns credentials that can be served at once, and `learn` is told of every request that was
    answered with credentials. `waited` has the seconds of the replies that somebody had to be asked for; all
    others were given at once. `unwritten` counts log lines that were left out for being too many.
    """

    def __init__(
        self,
        *,
        parse: Parse,
        source: Source,
        render: Render,
        render_error: RenderError,
        clock: Clock,
        log: Log,
        held: Callable[[Ask], Issued | None] | None = None,
        learn: Learn | None = None,
        refused: Refused | None = None,
    ) -> None:
        self._parse, self._source = parse, source
        self._render, self._render_error = render, render_error
        self._clock, self._log = clock, log
        self._held, self.learn = held, learn
        self._refused = refused
        self.replies: dict[int, int] = {}
        self.refusals: dict[str, int] = {}
        self.waited = Histogram(SECONDS)
        self.unwritten = 0
        self._lines = TokenBucket(rate=LINES_A_SECOND, burst=10 * LINES_A_SECOND, clock=clock)
        self._unsaid = 0

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the reply at once where nothing has to be asked, else a wait for it."""
        asked = self._parse(request)
        if isinstance(asked, Reply):
            self._refuse(request, asked.reason, asked.status, "")
            self._note(request.peer, request.method, asked.status, why=asked.reason)
            return asked
        issued = self._held(asked) if self._held is not None else None
        return self._ask(request, asked) if issued is None else self._hand_out(request, asked, issued, 0.0)

    def hit(self, peer: str, issued: Issued) -> None:
        """Count and log a request that was answered without this corridor."""
        self._note(peer, "GET", 200, issued=issued)

    async def _ask(self, request: Request, ask: Ask) -> Reply:
        started = self._clock.monotonic()
        try:
            issued = await self._source(ask)
            return self._hand_out(request, ask, issued, self._clock.monotonic() - started)
        except RolecallError as error:
            reply = self._render_error(error)
            if isinstance(error, ServiceError):  # said here, of the caller; what upstream said is an Upstream
                self._refuse(request, error.word, reply.status, error.message)
            else:
                count(self.refusals, error.word)
            self._note(request.peer, request.method, reply.status, self._clock.monotonic() - started, error.message)
            return reply
        except Exception:  # a defect: the server answers 500, and logs it
            self.replies[500] = self.replies.get(500, 0) + 1
            count(self.refusals, "defect")
            raise
        finally:
            self.waited.observe(self._clock.monotonic() - started)

    def _refuse(self, request: Request, word: str, status: int, why: str) -> None:
        count(self.refusals, word or f"http-{status}")
        if self._refused is not None:
            self._refused(request, word, status, why)

    def _hand_out(self, request: Request, ask: Ask, issued: Issued, seconds: float) -> Reply:
        reply = self._render(issued)
        if self.learn is not None:
            self.learn(request, ask, issued)
        self._note(request.peer, request.method, reply.status, seconds, issued=issued)
        return reply

    def _note(
        self, peer: str, method: str, status: int, seconds: float = 0.0, why: str = "", issued: Issued | None = None
    ) -> None:
        self.replies[status] = self.replies.get(status, 0) + 1
        if not self._log.informs:
            return
        if not self._lines.take():
            self._unsaid += 1
            self.unwritten += 1
            return
        fields: dict[str, object] = {"peer": peer, "method": method, "status": status, "ms": round(seconds * 1000, 1)}
        if why:
            fields["why"] = why
        if issued is not None and issued.subject is not None:
            fields |= {"namespace": issued.subject.namespace, "service_account": issued.subject.service_account}
        if issued is not None:
            fields |= {"association": issued.association_id, "role_session": issued.assumed_role_arn}
        if self._unsaid:
            fields["unwritten"], self._unsaid = self._unsaid, 0
        self._log.info("door.answered", **fields)

"""The corridor between a door and a source: parse, ask, render, and one log line for each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges.clock import Clock
from rolecall.edges.limits import TokenBucket
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

Parse = Callable[[Request], Ask | Reply]
Render = Callable[[Issued], Reply]
RenderError = Callable[[RolecallError], Reply]
Learn = Callable[[Request, Ask, Issued], None]

LINES_A_SECOND = 50.0
"""Log lines of one door on average; ten seconds' worth may come at once. Others are counted, not written."""


class Corridor:
    """Answers the requests of one door, and counts its replies by status.

    `held` returns credentials that can be served at once, and `learn` is told of every request that was
    answered with credentials.
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
    ) -> None:
        self._parse, self._source = parse, source
        self._render, self._render_error = render, render_error
        self._clock, self._log = clock, log
        self._held, self.learn = held, learn
        self.replies: dict[int, int] = {}
        self._lines = TokenBucket(rate=LINES_A_SECOND, burst=10 * LINES_A_SECOND, clock=clock)
        self._unwritten = 0

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the reply at once where nothing has to be asked, else a wait for it."""
        asked = self._parse(request)
        if isinstance(asked, Reply):
            self._note(request.peer, request.method, asked.status)
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
            self._note(request.peer, request.method, reply.status, self._clock.monotonic() - started, error.message)
            return reply

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
            self._unwritten += 1
            return
        fields: dict[str, object] = {"peer": peer, "method": method, "status": status, "ms": round(seconds * 1000, 1)}
        if why:
            fields["why"] = why
        if issued is not None and issued.subject is not None:
            fields |= {"namespace": issued.subject.namespace, "service_account": issued.subject.service_account}
        if issued is not None:
            fields |= {"association": issued.association_id, "role_session": issued.assumed_role_arn}
        if self._unwritten:
            fields["unwritten"], self._unwritten = self._unwritten, 0
        self._log.info("door.answered", **fields)

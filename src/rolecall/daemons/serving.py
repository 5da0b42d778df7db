"""The corridor between a door and a source: parse, ask, render, and one log line for each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

Parse = Callable[[Request], Ask | Reply]
Render = Callable[[Issued], Reply]
RenderError = Callable[[RolecallError], Reply]


class Corridor:
    """Answers the requests of one door, and counts its replies by status."""

    def __init__(
        self,
        *,
        parse: Parse,
        source: Source,
        render: Render,
        render_error: RenderError,
        clock: Clock,
        log: Log,
    ) -> None:
        self._parse, self._source = parse, source
        self._render, self._render_error = render, render_error
        self._clock, self._log = clock, log
        self.replies: dict[int, int] = {}

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the reply at once where nothing has to be asked, else a wait for it."""
        asked = self._parse(request)
        if isinstance(asked, Reply):
            self._note(request, asked, "", 0.0)
            return asked
        return self._ask(request, asked)

    async def _ask(self, request: Request, ask: Ask) -> Reply:
        started = self._clock.monotonic()
        why = ""
        fields: dict[str, object] = {}
        try:
            issued = await self._source(ask)
            reply = self._render(issued)
            if issued.subject is not None:
                fields = {
                    "namespace": issued.subject.namespace,
                    "service_account": issued.subject.service_account,
                }
            fields |= {"association": issued.association_id, "role_session": issued.assumed_role_arn}
        except RolecallError as error:
            reply, why = self._render_error(error), error.message
        self._note(request, reply, why, self._clock.monotonic() - started, **fields)
        return reply

    def _note(self, request: Request, reply: Reply, why: str, seconds: float, **fields: object) -> None:
        self.replies[reply.status] = self.replies.get(reply.status, 0) + 1
        self._log.info(
            "door.answered",
            peer=request.peer,
            method=request.method,
            status=reply.status,
            ms=round(seconds * 1000, 1),
            **({"why": why} if why else {}),
            **fields,
        )

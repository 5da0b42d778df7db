"""A call to an AWS service: proved afresh for every attempt, and tried again where what failed is over there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from rolecall.core.backoff import delays
from rolecall.core.exchange import Request
from rolecall.edges.aws.authentication import Authentication
from rolecall.edges.aws.node_credentials import NoNodeCredentials
from rolecall.edges.clock import Clock, within
from rolecall.edges.http_call import CallFailed, Origin
from rolecall.edges.http_client import HttpAnswer, HttpClient
from rolecall.errors import Upstream

LONGEST_ANSWER = 65_536
_CONNECT_WITHIN = 1.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 1.0  # seconds, at most

Answer = TypeVar("Answer")


class Unreadable(Upstream):
    """A 200 that holds no credentials; what was issued is not asked for again."""

    @property
    def word(self) -> str:
        """Always the same."""
        return "garbled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """How a service is called: at most `attempts` times within `deadline` seconds, each of `attempt_timeout` at most,
    with a jittered delay between them. `told` hears of every call: its word (``ok``, a code, a cause), its seconds."""

    http: HttpClient
    clock: Clock
    dice: Callable[[], float]
    attempts: int = 3
    attempt_timeout: float = 3.0
    deadline: float = 6.0
    told: Callable[[str, float], None] | None = None


class Attempts:
    """Calls one origin, with proof of who calls."""

    def __init__(self, origin: Origin, authentication: Authentication, calling: Calling) -> None:
        self._origin, self._authentication, self._calling = origin, authentication, calling
        self._clock = calling.clock

    async def __call__(self, unproved: Request, read: Callable[[HttpAnswer, Request], Answer]) -> Answer:
        """Return what `read` makes of an answer to the request, which it is given with its proof.

        What `read` raises that is retryable, and no `Unreadable`, is tried again; the last error is raised, as are
        those of `Authentication`, and `CallFailed` where there was no answer.
        """
        pauses = delays(base=_FIRST_PAUSE, cap=_LONGEST_PAUSE, dice=self._calling.dice)
        end = self._clock.monotonic() + self._calling.deadline
        attempt = 1
        while True:
            try:
                return await self._attempt(unproved, read, end)
            except Unreadable:
                raise
            except Upstream as error:
                pause = next(pauses)
                spent = self._clock.monotonic() + pause >= end
                if attempt == self._calling.attempts or not error.retryable or spent:
                    raise
            attempt += 1
            await self._clock.sleep(pause)

    async def _attempt(self, unproved: Request, read: Callable[[HttpAnswer, Request], Answer], end: float) -> Answer:
        request = await self._proved(unproved, end)
        left = end - self._clock.monotonic()
        if left <= 0:
            raise CallFailed(str(self._origin), "timeout")
        started, word = self._clock.monotonic(), "given-up"
        try:
            found = read(await self._call(request, left), request)
            word = "ok"
            return found
        except Upstream as error:
            word = error.word
            raise
        finally:
            if self._calling.told is not None:
                self._calling.told(word, self._clock.monotonic() - started)

    async def _proved(self, request: Request, end: float) -> Request:
        """Return the request with the agent's proof; raises as `Authentication` does, and no later than at `end`."""
        return await in_time(self._clock, end - self._clock.monotonic(), self._authentication(request))

    async def _call(self, request: Request, left: float) -> HttpAnswer:
        return await self._calling.http.call(
            request.method,
            f"{self._origin}{request.target}",
            request.headers,
            request.body,
            connect_timeout=_CONNECT_WITHIN,
            timeout=min(self._calling.attempt_timeout, left),
            longest_body=LONGEST_ANSWER,
        )


async def in_time(clock: Clock, seconds: float, own: Awaitable[Answer]) -> Answer:
    """Return what needs the agent's own credentials; raises `NoNodeCredentials` where they take longer than that."""
    try:
        return await within(clock, seconds, own)
    except TimeoutError:
        raise NoNodeCredentials("the agent's own AWS credentials did not come in time") from None

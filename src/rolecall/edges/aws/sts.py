"""STS AssumeRole, signed with the agent's own credentials: one role session for a granted hop."""

from __future__ import annotations

from collections.abc import Callable

from rolecall.core.backoff import delays
from rolecall.core.exchange import Request
from rolecall.core.grant import Hop
from rolecall.core.source import Issued
from rolecall.edges.aws import wire
from rolecall.edges.aws.node_credentials import NodeCredentials, NoNodeCredentials, SigningKey
from rolecall.edges.aws.sigv4 import sign
from rolecall.edges.clock import Clock, within
from rolecall.edges.http_client import CallFailed, HttpAnswer, HttpClient, split_url
from rolecall.errors import Upstream, UpstreamAnswered

LONGEST_ANSWER = 65_536
_THROTTLED = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded"})  # STS says so with status 400


class AssumeRole:
    """Assumes roles at an endpoint. What failed over there is tried again, others are final.

    At most `attempts` calls in `deadline` seconds, with a jittered delay between them; each is signed afresh. `told`
    hears of every call: its word (``ok``, a code, a cause) and its seconds.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        region: str,
        http: HttpClient,
        credentials: NodeCredentials,
        clock: Clock,
        dice: Callable[[], float],
        attempts: int = 3,
        attempt_timeout: float = 3.0,
        deadline: float = 6.0,
        told: Callable[[str, float], None] | None = None,
    ) -> None:
        self._origin, self._path = split_url(endpoint)
        self._region, self._http, self._credentials = region, http, credentials
        self._clock, self._dice, self._told = clock, dice, told
        self._attempts, self._attempt_timeout, self._deadline = attempts, attempt_timeout, deadline

    async def __call__(self, hop: Hop) -> Issued:
        """Return the session's credentials.

        Raises `UpstreamAnswered` with STS's status, code and message, `Upstream` where there was no usable answer, and
        `NoNodeCredentials` or `Misconfigured` where the agent has none of its own to sign with.
        """
        unsigned = Request(
            "POST",
            self._path,
            (
                ("host", self._origin.authority),
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("accept", "text/xml"),
            ),
            wire.encode_assume_role(hop),
        )
        pauses = delays(base=0.2, cap=1.0, dice=self._dice)
        end = self._clock.monotonic() + self._deadline
        for attempt in range(1, self._attempts + 1):
            try:
                return await self._attempt(unsigned, end)
            except Upstream as error:
                pause = next(pauses)
                spent = self._clock.monotonic() + pause >= end
                if attempt == self._attempts or not error.retryable or spent:
                    raise
            await self._clock.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, unsigned: Request, end: float) -> Issued:
        """Return what one call brought, or raise the error that it brought."""
        key = await self._key(end)
        request = sign(
            unsigned,
            access_key_id=key.access_key_id,
            secret=key.secret,
            session_token=key.session_token,
            service="sts",
            region=self._region,
            now=self._clock.now(),
        )
        started, word = self._clock.monotonic(), "given-up"
        try:
            issued = self._read(await self._call(request, end - started))
            word = "ok"
            return issued
        except Upstream as error:
            word = error.word
            raise
        finally:
            if self._told is not None:
                self._told(word, self._clock.monotonic() - started)

    async def _key(self, end: float) -> SigningKey:
        """Return what to sign with, no later than at `end`."""
        try:
            return await within(self._clock, end - self._clock.monotonic(), self._credentials.current())
        except TimeoutError:
            raise NoNodeCredentials("the agent's own AWS credentials did not come in time") from None

    async def _call(self, request: Request, left: float) -> HttpAnswer:
        if left <= 0:
            raise CallFailed(str(self._origin), "timeout")
        return await self._http.call(
            request.method,
            f"{self._origin}{request.target}",
            request.headers,
            request.body,
            connect_timeout=1.0,
            timeout=min(self._attempt_timeout, left),
            longest_body=LONGEST_ANSWER,
        )

    def _read(self, answer: HttpAnswer) -> Issued:
        """Return what a 200 issued; raise what any other says. A redirect is nobody's answer."""
        if answer.status == 200:
            return wire.decode_assume_role(answer.body, where=str(self._origin))
        if not 400 <= answer.status <= 599:
            raise Upstream(f"{self._origin} answered with HTTP status {answer.status}: it is not STS's own answer")
        said = wire.decode_sts_error(answer.status, answer.body)
        code = said["code"] if " " not in said["code"] else "UnknownError"
        message = said["message"] or f"STS answered with HTTP status {answer.status} and no message"
        error = UpstreamAnswered(
            status=answer.status,
            code=code,
            message=message,
            request_id=(answer.header("x-amzn-requestid") or "")[:128],
        )
        error.retryable = error.retryable or code in _THROTTLED
        raise error

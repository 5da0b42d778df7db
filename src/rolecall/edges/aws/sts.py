"""STS AssumeRole, signed with the agent's own credentials: one role session for a granted hop."""

from __future__ import annotations

from dataclasses import replace

from rolecall.core.exchange import Request
from rolecall.core.grant import Hop
from rolecall.core.session import LONGEST_CHAINED_SESSION
from rolecall.core.source import Issued
from rolecall.edges.aws import wire
from rolecall.edges.aws.attempts import Attempts, Calling, in_time
from rolecall.edges.aws.authentication import Signature
from rolecall.edges.aws.node_credentials import NodeCredentials
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpAnswer
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream, UpstreamAnswered

_THROTTLED = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded"})  # STS says so with status 400


class AssumeRole:
    """Assumes roles at an endpoint. What failed over there is tried again, others are final.

    Whoever signs with a session is given sessions of an hour at most, for STS refuses a role longer ones (IAM User
    Guide, "Role chaining"); the log says so once.
    """

    def __init__(self, endpoint: str, *, region: str, credentials: NodeCredentials, calling: Calling, log: Log) -> None:
        self._origin, self._path = split_url(endpoint)
        self._credentials, self._calling, self._log, self._said = credentials, calling, log, False
        signature = Signature(credentials, service="sts", region=region, clock=calling.clock)
        self._attempts = Attempts(self._origin, signature, calling)

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
            wire.encode_assume_role(await self._bounded(hop)),
        )
        return await self._attempts(unsigned, self._read)

    async def _bounded(self, hop: Hop) -> Hop:
        """Return what to ask for. Whether a session is a role's or a user's, who may have more, keys do not show."""
        if hop.session.duration <= LONGEST_CHAINED_SESSION:
            return hop
        key = await in_time(self._calling.clock, self._calling.deadline, self._credentials.current())
        if key.session_token is None:
            return hop
        if not self._said:
            self._said = True
            why = "the own credentials are temporary, and STS gives who is a role an hour at most"
            self._log.warning("sts.shortened", asked=hop.session.duration, seconds=LONGEST_CHAINED_SESSION, why=why)
        return replace(hop, session=replace(hop.session, duration=LONGEST_CHAINED_SESSION))

    def _read(self, answer: HttpAnswer, _request: Request) -> Issued:
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

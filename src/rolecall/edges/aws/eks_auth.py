"""EKS Auth as a Source: one AssumeRoleForPodIdentity call for an Ask, with proof of who the agent is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from rolecall.core.backoff import delays
from rolecall.core.exchange import Request
from rolecall.core.names import ClusterName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.edges.aws.authentication import Authentication
from rolecall.edges.aws.node_credentials import NoNodeCredentials
from rolecall.edges.clock import Clock, within
from rolecall.edges.http_client import CallFailed, HttpAnswer, HttpClient, split_url
from rolecall.errors import BadInput, Misconfigured, Upstream, UpstreamAnswered

LONGEST_ANSWER = 65_536
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class Wire(Protocol):
    """The shape of EKS Auth's messages; `rolecall.mechanisms.pod_identity.wire` is one."""

    def ask_path(self, cluster: ClusterName, /) -> str:
        """Return the path of the operation."""
        ...

    def encode_ask(self, token: Secret, /) -> bytes:
        """Return the request body."""
        ...

    def decode_issued(self, body: bytes, /) -> Issued:
        """Return what was issued, or raise `Upstream`."""
        ...

    def decode_error(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, /) -> UpstreamAnswered:
        """Return the error of an answer that is not 200."""
        ...


class Unreadable(Upstream):
    """A 200 that holds no credentials."""

    @property
    def word(self) -> str:
        """Always the same."""
        return "garbled"


class EksAuth:
    """A `Source` that asks EKS Auth, or any server that speaks its protocol.

    A call that found no answer, was throttled or failed over there is tried again, at most `attempts` times
    within `deadline` seconds, after a jittered delay; every attempt is proved afresh. Other errors are final.
    `told` hears of every call: its word (``ok``, a code, a cause) and its seconds.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        http: HttpClient,
        authentication: Authentication,
        wire: Wire,
        clock: Clock,
        dice: Callable[[], float],
        cluster: ClusterName | None = None,
        attempts: int = 3,
        connect_timeout: float = 1.0,
        attempt_timeout: float = 3.0,
        deadline: float = 6.0,
        backoff_base: float = 0.2,
        backoff_cap: float = 1.0,
        told: Callable[[str, float], None] | None = None,
    ) -> None:
        self._told = told
        self._origin, base = split_url(endpoint)
        if "?" in base:
            raise Misconfigured(
                "the EKS Auth endpoint has a query", hint="write it as https://host or http://host:port"
            )
        self._base_path = base.rstrip("/")
        self._cluster = cluster
        self._http, self._authentication, self._wire = http, authentication, wire
        self._clock, self._dice = clock, dice
        self._attempts, self._deadline = attempts, deadline
        self._connect_timeout, self._attempt_timeout = connect_timeout, attempt_timeout
        self._backoff_base, self._backoff_cap = backoff_base, backoff_cap

    async def __call__(self, ask: Ask) -> Issued:
        """Return the credentials for the ask's token, in its cluster or else the agent's own.

        Raises `UpstreamAnswered` with EKS Auth's status, code, message and request id; `Upstream` where there
        was no usable answer; `NoNodeCredentials` or `Misconfigured` where the agent has nothing to prove itself
        with; `BadInput` for no token.
        """
        cluster = ask.cluster or self._cluster
        if not ask.token:
            raise BadInput("there is no service account token to ask EKS Auth with")
        if cluster is None:
            raise Misconfigured("the cluster's name is not known", hint="start the agent with --cluster-name")
        unproved = self._request(cluster, ask.token)
        pauses = delays(base=self._backoff_base, cap=self._backoff_cap, dice=self._dice)
        end = self._clock.monotonic() + self._deadline
        attempt = 1
        while True:
            try:
                return await self._attempt(unproved, ask.token, end)
            except Unreadable:
                raise
            except Upstream as error:
                pause = next(pauses)
                spent = self._clock.monotonic() + pause >= end
                if attempt == self._attempts or not error.retryable or spent:
                    raise
            attempt += 1
            await self._clock.sleep(pause)

    def _request(self, cluster: ClusterName, token: Secret) -> Request:
        return Request(
            method="POST",
            target=self._base_path + self._wire.ask_path(cluster),
            headers=(("host", self._origin.authority), ("content-type", "application/json")),
            body=self._wire.encode_ask(token),
        )

    async def _proved(self, request: Request, end: float) -> Request:
        """Return the request with the agent's proof; raises as `Authentication` does, and no later than at `end`."""
        try:
            return await within(self._clock, end - self._clock.monotonic(), self._authentication(request))
        except TimeoutError:
            raise NoNodeCredentials("the agent's own AWS credentials did not come in time") from None

    async def _attempt(self, unproved: Request, token: Secret, end: float) -> Issued:
        """Return what an answer with status 200 brings, or raise the error that the answer is."""
        request = await self._proved(unproved, end)
        left = end - self._clock.monotonic()
        if left <= 0:
            raise CallFailed(str(self._origin), "timeout")
        started, word = self._clock.monotonic(), "given-up"
        try:
            answer = await self._call(request, left)
            if answer.status != 200:
                raise self._error(answer, token, request)
            issued = self._issued(answer)
            word = "ok"
            return issued
        except Upstream as error:
            word = error.word
            raise
        finally:
            if self._told is not None:
                self._told(word, self._clock.monotonic() - started)

    async def _call(self, request: Request, left: float) -> HttpAnswer:
        return await self._http.call(
            request.method,
            f"{self._origin}{request.target}",
            request.headers,
            request.body,
            connect_timeout=self._connect_timeout,
            timeout=min(self._attempt_timeout, left),
            longest_body=LONGEST_ANSWER,
        )

    def _issued(self, answer: HttpAnswer) -> Issued:
        try:
            issued = self._wire.decode_issued(answer.body)
        except Upstream as fault:
            raise Unreadable(fault.message) from None
        request_id = answer.header("x-amzn-requestid") or ""
        return replace(issued, request_id=request_id) if _REQUEST_ID.fullmatch(request_id) else issued

    def _error(self, answer: HttpAnswer, token: Secret, request: Request) -> Upstream:
        """Return what an answer that is not 200 says; it quotes neither token, so that no log can."""
        if not 400 <= answer.status <= 599:
            return Upstream(
                f"{self._origin} answered with HTTP status {answer.status}: it is not EKS Auth's own answer"
            )
        error = self._wire.decode_error(answer.status, answer.headers, answer.body)
        if any(part in error.message for part in _telling_parts(token.reveal(), request.header("authorization") or "")):
            return self._wire.decode_error(answer.status, answer.headers, b"")
        return error


def _telling_parts(*texts: str) -> Sequence[str]:
    """Return the tokens, and beginnings of their payloads and signatures: a message may be cut before its end."""
    parts = (part[:32] for text in texts for part in text.split(".")[1:] if len(part) >= 16)
    return [*filter(None, texts), *parts]

"""EKS Auth as a Source: one AssumeRoleForPodIdentity call for an Ask, with proof of who the agent is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from rolecall.core.exchange import Request
from rolecall.core.names import ClusterName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.edges.aws.attempts import Attempts, Calling, Unreadable
from rolecall.edges.aws.authentication import Authentication
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpAnswer
from rolecall.errors import BadInput, Misconfigured, Upstream, UpstreamAnswered

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


class EksAuth:
    """A `Source` that asks EKS Auth, or any server that speaks its protocol.

    A call that found no answer, was throttled or failed over there is tried again, as `calling` has it; every attempt
    is proved afresh. Other errors are final.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        authentication: Authentication,
        wire: Wire,
        calling: Calling,
        cluster: ClusterName | None = None,
    ) -> None:
        self._origin, base = split_url(endpoint)
        if "?" in base:
            raise Misconfigured(
                "the EKS Auth endpoint has a query", hint="write it as https://host or http://host:port"
            )
        self._base_path = base.rstrip("/")
        self._cluster, self._wire = cluster, wire
        self._attempts = Attempts(self._origin, authentication, calling)

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
        token = ask.token

        def read(answer: HttpAnswer, request: Request) -> Issued:
            if answer.status != 200:
                raise self._error(answer, token, request)
            return self._issued(answer)

        return await self._attempts(self._request(cluster, token), read)

    def _request(self, cluster: ClusterName, token: Secret) -> Request:
        return Request(
            method="POST",
            target=self._base_path + self._wire.ask_path(cluster),
            headers=(("host", self._origin.authority), ("content-type", "application/json")),
            body=self._wire.encode_ask(token),
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

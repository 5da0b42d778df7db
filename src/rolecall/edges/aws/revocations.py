"""Asks Rolecall's own EKS Auth which associations were changed or deleted. AWS's has no such question."""

from __future__ import annotations

from typing import Protocol

from rolecall.core.exchange import Request
from rolecall.core.names import ClusterName
from rolecall.core.records import Revocations
from rolecall.edges.aws.authentication import Authentication
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpClient
from rolecall.errors import Upstream

LONGEST_ANSWER = 1024 * 1024


class Wire(Protocol):
    """The shape of the question; `rolecall.mechanisms.pod_identity.wire` is one."""

    def revocations_path(self, cluster: ClusterName, after: int, /) -> str:
        """Return the path and query."""
        ...

    def decode_revocations(self, body: bytes, /) -> Revocations:
        """Return the answer, or raise `Upstream`."""
        ...


class NotOffered(Upstream):
    """The server does not know the question: it is not ours."""

    retryable = False


class RevocationsClient:
    """One GET for each question, with proof of who the agent is, and no second try: the next one comes soon anyway."""

    def __init__(self, *, endpoint: str, http: HttpClient, authentication: Authentication, wire: Wire) -> None:
        self._origin, base = split_url(endpoint)
        self._base_path = base.rstrip("/")
        self._http, self._authentication, self._wire = http, authentication, wire

    async def __call__(self, cluster: ClusterName, after: int) -> Revocations:
        """Return what was revoked since; raises `NotOffered`, and `Upstream` for anything else."""
        target = self._base_path + self._wire.revocations_path(cluster, after)
        request = await self._authentication(Request("GET", target, (("host", self._origin.authority),)))
        answer = await self._http.call(
            "GET",
            f"{self._origin}{target}",
            request.headers,
            connect_timeout=1.0,
            timeout=3.0,
            longest_body=LONGEST_ANSWER,
        )
        if answer.status in (404, 405, 501):
            raise NotOffered(f"{self._origin} offers no list of revocations (status {answer.status})")
        if answer.status != 200:
            raise Upstream(f"{self._origin} answered the question for revocations with status {answer.status}")
        return self._wire.decode_revocations(answer.body)

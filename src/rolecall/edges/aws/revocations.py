"""Asks Rolecall's own EKS Auth which associations were changed or deleted. AWS's has no such question."""

from __future__ import annotations

from typing import Protocol

from rolecall.core.exchange import Request
from rolecall.core.names import ClusterName
from rolecall.core.records import Revocations
from rolecall.edges.aws.node_credentials import NodeCredentials
from rolecall.edges.aws.sigv4 import sign
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient, split_url
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
    """One signed GET for each question, without a second try: the next one comes soon anyway."""

    def __init__(
        self, *, endpoint: str, region: str, http: HttpClient, credentials: NodeCredentials, wire: Wire, clock: Clock
    ) -> None:
        self._origin, base = split_url(endpoint)
        self._base_path = base.rstrip("/")
        self._region, self._http, self._credentials = region, http, credentials
        self._wire, self._clock = wire, clock

    async def __call__(self, cluster: ClusterName, after: int) -> Revocations:
        """Return what was revoked since; raises `NotOffered`, and `Upstream` for anything else."""
        key = await self._credentials.current()
        target = self._base_path + self._wire.revocations_path(cluster, after)
        request = sign(
            Request("GET", target, (("host", self._origin.authority),)),
            access_key_id=key.access_key_id,
            secret=key.secret,
            session_token=key.session_token,
            service="eks-auth",
            region=self._region,
            now=self._clock.now(),
        )
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

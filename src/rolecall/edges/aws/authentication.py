"""How the agent proves who it is to the EKS Auth that it asks."""

from __future__ import annotations

from typing import Protocol

from rolecall.core.exchange import Request
from rolecall.edges.aws.node_credentials import NodeCredentials
from rolecall.edges.aws.sigv4 import sign
from rolecall.edges.clock import Clock


class Authentication(Protocol):
    """Adds the proof to a request; it is called for every attempt, and what it adds is never kept."""

    async def __call__(self, request: Request, /) -> Request:
        """Return the request with the proof.

        Raises `Misconfigured` where the operator has to act, `NoNodeCredentials` where whoever issues the agent's
        credentials has failed.
        """
        ...

    async def check(self) -> None:
        """Raise what a call would raise now."""
        ...


class Signature:
    """Signs for EKS Auth in a region (SigV4), with the agent's own AWS credentials."""

    def __init__(self, credentials: NodeCredentials, *, region: str, clock: Clock) -> None:
        self._credentials, self._region, self._clock = credentials, region, clock

    async def __call__(self, request: Request) -> Request:
        """Return it signed, for now."""
        key = await self._credentials.current()
        return sign(
            request,
            access_key_id=key.access_key_id,
            secret=key.secret,
            session_token=key.session_token,
            service="eks-auth",
            region=self._region,
            now=self._clock.now(),
        )

    async def check(self) -> None:
        """Raise where there is nothing to sign with."""
        await self._credentials.current()

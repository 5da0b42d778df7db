"""How the agent proves who it is to the EKS Auth that it asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rolecall.core.exchange import Request
from rolecall.core.secrets import Secret
from rolecall.edges.aws.node_credentials import NodeCredentials
from rolecall.edges.aws.sigv4 import sign
from rolecall.edges.clock import Clock
from rolecall.edges.tls import ClientTls
from rolecall.edges.token_file import read_token
from rolecall.errors import Misconfigured

_LONGEST = 20_000  # characters of a token


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
    """Signs for a service in a region (SigV4), with the agent's own AWS credentials."""

    def __init__(self, credentials: NodeCredentials, *, region: str, clock: Clock, service: str = "eks-auth") -> None:
        self._credentials, self._clock = credentials, clock
        self._service, self._region = service, region

    async def __call__(self, request: Request) -> Request:
        """Return it signed, for now."""
        key = await self._credentials.current()
        return sign(
            request,
            access_key_id=key.access_key_id,
            secret=key.secret,
            session_token=key.session_token,
            service=self._service,
            region=self._region,
            now=self._clock.now(),
        )

    async def check(self) -> None:
        """Raise where there is nothing to sign with."""
        await self._credentials.current()


class ServiceAccountToken:
    """Shows the agent's own service-account token, read from its file each time: the kubelet replaces it.

    For Rolecall's own server only: whoever has the token can ask as this agent. The caller sees to it that the
    request goes nowhere else.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    async def __call__(self, request: Request) -> Request:
        """Return it with the token that the file has now."""
        return replace(request, headers=(*request.headers, ("authorization", f"Bearer {self.read().reveal()}")))

    async def check(self) -> None:
        """Raise where the file holds no token."""
        self.read()

    def read(self) -> Secret:
        """Return the token; raises `Misconfigured`."""
        return read_token(self._file, _LONGEST)


class ClientCertificate:
    """Adds nothing: the connection has shown who the agent is."""

    def __init__(self, tls: ClientTls) -> None:
        self._tls = tls

    async def __call__(self, request: Request) -> Request:
        """Return it as it is."""
        return request

    async def check(self) -> None:
        """Raise where the certificate cannot be used and none could before."""
        self._tls.context()


class Unproven:
    """Has nothing to prove itself with, for an agent that asks nobody."""

    async def __call__(self, request: Request) -> Request:
        """Raise: whoever calls this has not been told of anything to ask."""
        raise Misconfigured("the agent has no credentials of its own", hint="set --region, and give it credentials")

    async def check(self) -> None:
        """Find nothing wrong."""

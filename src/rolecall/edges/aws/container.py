"""Credentials from a container's provider: ECS, another Pod Identity agent, or whoever speaks like them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rolecall.core.secrets import Secret
from rolecall.edges.aws import wire
from rolecall.edges.aws.node_credentials import Lease, NoNodeCredentials
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpClient
from rolecall.edges.sockets import is_loopback
from rolecall.edges.token_file import read_token
from rolecall.errors import Misconfigured

RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - a name
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - a name
ECS = "http://169.254.170.2"

_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
_LONGEST = 65_536
_LONGEST_TOKEN = 65_536


class ContainerCredentials:
    """What the variables of a container point to; the relative one wins, and of tokens the file, read each time.

    Plain HTTP is spoken with loopback and with the addresses that AWS's agents have, else with nobody. Raises
    `Misconfigured` for a URL that is none, or one of such a stranger.
    """

    def __init__(self, environment: Mapping[str, str], http: HttpClient) -> None:
        relative, full = environment.get(RELATIVE), environment.get(FULL)
        if relative and not relative.startswith("/"):
            raise Misconfigured(f"{RELATIVE} is not a path", hint="it begins with a slash")
        self._url = ECS + relative if relative else full or ""
        self._http = http
        try:
            self.origin, _ = split_url(self._url)
        except Misconfigured:
            raise Misconfigured(f"{FULL} is not a URL that can be called", hint="unset it, or correct it") from None
        if self.origin.scheme == "http" and self.origin.host not in _HOSTS and not is_loopback(self.origin.host):
            raise Misconfigured(
                f"{FULL} is plain HTTP to another machine, {self.origin.host}",
                hint="use https, or an address of this machine",
            )
        self._token_file = environment.get(TOKEN_FILE)
        self._token = Secret(environment.get(TOKEN, ""))

    async def fetch(self) -> Lease:
        """Return what the provider hands out now; raises `NoNodeCredentials` and `Misconfigured`."""
        token = read_token(Path(self._token_file), _LONGEST_TOKEN) if self._token_file else self._token
        headers = [("accept", "application/json"), *([("authorization", token.reveal())] if token else [])]
        answer = await self._http.call(
            "GET", self._url, headers, connect_timeout=1.0, timeout=6.0, longest_body=_LONGEST
        )
        if answer.status != 200:
            raise NoNodeCredentials(f"{self.origin} answered with HTTP status {answer.status}")
        return wire.decode_keys(answer.body, where=str(self.origin))

"""EC2's instance metadata service, version 2 and no other: the node's role, and the region."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId, Region
from rolecall.core.secrets import Secret
from rolecall.edges.aws import wire
from rolecall.edges.aws.endpoints import switch
from rolecall.edges.aws.node_credentials import Lease, NoNodeCredentials, SigningKey
from rolecall.edges.http_call import CallFailed, split_url
from rolecall.edges.http_client import HttpAnswer, HttpClient
from rolecall.errors import BadName, Misconfigured

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
ROLES = "/latest/meta-data/iam/security-credentials/"
INFO = "/latest/meta-data/iam/info"

_WITHIN = 1.0  # seconds for each of the three questions, as with AWS's SDKs
_LONGEST = 16_384
_TOKEN_SECONDS = "60"  # noqa: S105 - how long a token is to live: it is used at once
_TOKEN = re.compile(r"[!-~]{1,4096}")
_ROLE = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_HINTS: Mapping[int, str] = {
    403: "the instance's metadata service is turned off, or something between forwards for others",
    404: "what is there knows no IMDSv2; IMDSv1 is never used",
    405: "what is there knows no IMDSv2; IMDSv1 is never used",
}


def imds_endpoint(environment: Mapping[str, str]) -> str | None:
    """Return the service's URL, from AWS_EC2_METADATA_SERVICE_ENDPOINT or its _MODE; None where it is disabled.

    Raises `Misconfigured` for a URL or a mode that is none.
    """
    if switch(environment, "AWS_EC2_METADATA_DISABLED"):
        return None
    url = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
    if url:
        split_url(url)
        return url.rstrip("/")
    mode = (environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") or "IPv4").lower()
    if mode not in ENDPOINTS:
        raise Misconfigured(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6", hint="set it to one of the two"
        )
    return ENDPOINTS[mode]


def handed_on(key: SigningKey, expires_at: float, account: AccountId) -> Credentials:
    """Return the node's own credentials as somebody else's."""
    return Credentials(key.access_key_id, key.secret, key.session_token or Secret(""), expires_at, account)


class Imds:
    """The service at a URL. `http` must know no proxy: the service refuses what was forwarded."""

    def __init__(self, url: str, http: HttpClient) -> None:
        self.url = url
        self._http = http

    async def credentials(self) -> Lease:
        """Return the credentials of the node's role; raises `NoNodeCredentials`."""
        token = await self._token()
        role = await self._role(token)
        answer = await self._get(ROLES + role, token)
        self._line(answer)
        return wire.decode_keys(answer.body, where=self.url)

    async def role(self) -> str:
        """Return the name of the node's role; raises `NoNodeCredentials`."""
        return await self._role(await self._token())

    async def _role(self, token: Secret) -> str:
        roles = await self._get(ROLES, token)
        if roles.status == 404 or (roles.status == 200 and not roles.body.strip()):
            raise NoNodeCredentials(
                f"{self.url}: this instance has no role", hint="give it an instance profile that may call EKS Auth"
            )
        role = self._line(roles)
        if not _ROLE.fullmatch(role):
            raise NoNodeCredentials(f"{self.url} named a role that is none")
        return role

    async def region(self) -> Region:
        """Return the region that this instance is in; raises `NoNodeCredentials`."""
        try:
            return Region.parse(self._line(await self._get("/latest/meta-data/placement/region", await self._token())))
        except BadName:
            raise NoNodeCredentials(f"{self.url} named a region that is none") from None

    async def account(self) -> str:
        """Return the id of the account that this instance is in; raises `NoNodeCredentials`."""
        found = wire.decode_identity_account(await self.document("/latest/dynamic/instance-identity/document") or b"")
        if found is None:
            raise NoNodeCredentials(f"{self.url} does not say which account the node is in")
        return found

    async def document(self, path: str) -> bytes | None:
        """Return what is at a path, or None where nothing is; raises `NoNodeCredentials` for any other answer.

        Nothing of a client's request goes with the question.
        """
        answer = await self._get(path, await self._token())
        if answer.status not in (200, 404):
            raise NoNodeCredentials(f"{self.url} answered with HTTP status {answer.status}")
        return answer.body if answer.status == 200 else None

    async def _token(self) -> Secret:
        answer = await self._call("PUT", "/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds", _TOKEN_SECONDS)
        token = answer.body.decode("latin-1") if answer.status == 200 else ""
        if not _TOKEN.fullmatch(token):
            raise NoNodeCredentials(
                f"{self.url} gave no session token (HTTP status {answer.status})", hint=_HINTS.get(answer.status, "")
            )
        return Secret(token)

    async def _get(self, path: str, token: Secret) -> HttpAnswer:
        return await self._call("GET", path, "x-aws-ec2-metadata-token", token.reveal())

    async def _call(self, method: str, path: str, name: str, value: str) -> HttpAnswer:
        try:
            return await self._http.call(
                method,
                self.url + path,
                ((name, value),),
                connect_timeout=_WITHIN,
                timeout=_WITHIN,
                longest_body=_LONGEST,
            )
        except CallFailed as failure:
            hint = failure.hint
            if failure.cause == "timeout":
                hint = "use the host's network, or let the instance's metadata hop limit be 2"
            raise NoNodeCredentials(failure.message, hint=hint) from None

    def _line(self, answer: HttpAnswer) -> str:
        """Return the first line of an answer that must be 200."""
        if answer.status != 200:
            raise NoNodeCredentials(f"{self.url} answered with HTTP status {answer.status}")
        return answer.body.decode("latin-1").partition("\n")[0].strip()

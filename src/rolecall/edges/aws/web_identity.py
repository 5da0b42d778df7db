"""Credentials for a token of this pod: STS AssumeRoleWithWebIdentity, which is not signed."""

from __future__ import annotations

import re
from pathlib import Path

from rolecall.core.names import RoleArn
from rolecall.core.secrets import Secret
from rolecall.edges.aws import wire
from rolecall.edges.aws.node_credentials import Lease, NoNodeCredentials
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpAnswer, HttpClient
from rolecall.edges.token_file import read_token
from rolecall.errors import BadName, Misconfigured

_SESSION = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_LONGEST = 65_536


class WebIdentity:
    """A role for whoever holds the token of a file, which is read each time: the kubelet replaces it.

    Raises `Misconfigured` for a role, a session name or an endpoint that is none.
    """

    def __init__(self, *, role_arn: str, token_file: Path, session_name: str, endpoint: str, http: HttpClient) -> None:
        try:
            self._role = RoleArn.parse(role_arn)
        except BadName as fault:
            raise Misconfigured(f"AWS_ROLE_ARN: {fault.message}", hint="set it to the ARN of a role") from None
        if not _SESSION.fullmatch(session_name):
            raise Misconfigured(
                "AWS_ROLE_SESSION_NAME is not the name of a session", hint="2 to 64 letters, digits and _+=,.@-"
            )
        self.origin, path = split_url(endpoint)
        self._url, self._http = f"{self.origin}{path}", http
        self._token_file, self._session_name = token_file, session_name

    async def fetch(self) -> Lease:
        """Return a new session's credentials; raises `NoNodeCredentials` with STS's word, and `Misconfigured`."""
        token = read_token(self._token_file, wire.LONGEST_TOKEN)
        answer = await self._http.call(
            "POST",
            self._url,
            (("content-type", "application/x-www-form-urlencoded; charset=utf-8"), ("accept", "text/xml")),
            wire.encode_web_identity(self._role, self._session_name, token),
            connect_timeout=1.0,
            timeout=6.0,
            longest_body=_LONGEST,
        )
        if answer.status != 200:
            raise self._refused(answer, token)
        return wire.decode_web_identity(answer.body, where=str(self.origin))

    def _refused(self, answer: HttpAnswer, token: Secret) -> NoNodeCredentials:
        """Return STS's error; a message that quotes the token is left out."""
        said = wire.decode_sts_error(answer.status, answer.body)
        telling = [part[:32] for part in token.reveal().split(".") if len(part) >= 16]
        message = "" if any(part in said["message"] for part in telling) else said["message"]
        return NoNodeCredentials(
            f"{self.origin} refused the agent the role {self._role}: {said['code']}{': ' if message else ''}{message}",
            hint="check the role's trust policy, the OIDC provider in IAM and the token's audience",
        )


def session_name(node: str | None) -> str:
    """Return the name that the agent's sessions have where AWS_ROLE_SESSION_NAME is not set: CloudTrail shows it."""
    return re.sub(r"[^\w+=,.@-]", "-", f"rolecall-agent-{node}" if node else "rolecall-agent", flags=re.ASCII)[:64]

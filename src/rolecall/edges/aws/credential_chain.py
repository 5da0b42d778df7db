"""Where the agent's own credentials come from: one source, chosen at the start by what is configured.

The order is that of AWS's SDKs (AWS SDKs and Tools Reference Guide, "Understand the credential provider chain"). A
source that is configured and fails is an error, and the next one is never tried instead: an agent that quietly signs
as somebody else is worse than one that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rolecall.edges.aws.endpoints import sts_endpoint
from rolecall.edges.aws.node_credentials import (
    EnvironmentCredentials,
    Lease,
    NodeCredentials,
    SharedFileCredentials,
    SigningKey,
)
from rolecall.edges.aws.profiles import Profile, read_profile
from rolecall.edges.aws.renewed import RenewedCredentials
from rolecall.edges.clock import Clock
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpClient
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured, RolecallError

Kind = Literal["environment", "web-identity", "shared-file", "container", "imds"]

# Settings of a profile that stand for a way to credentials that only whole SDKs have, and what each is called.
_OTHER_WAYS = {
    "sso_session": "single sign-on",
    "sso_start_url": "single sign-on",
    "sso_account_id": "single sign-on",
    "login_session": "a login session",
    "credential_process": "a program",
}
_USE = "give the agent keys, AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE, or the node's role"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sources need. `near` makes the client for IMDS and containers, which know no proxy.

    `doors` are hosts and ports at which this agent serves: it cannot be its own source.
    """

    region: str
    node: str | None
    http: HttpClient
    near: Callable[[], HttpClient]
    clock: Clock
    dice: Callable[[], float]
    log: Log
    doors: Collection[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The source: its kind, where it is in words that hold no secret, and the credentials themselves."""

    kind: Kind
    where: str
    credentials: NodeCredentials
    near: HttpClient | None = None

    async def current(self) -> SigningKey:
        """Return what to sign with now; raises as `NodeCredentials` does."""
        return await self.credentials.current()

    async def is_temporary(self) -> bool:
        """Return whether they are a session's, as far as that is known before they are fetched."""
        if self.kind not in ("environment", "shared-file"):
            return True  # who has a role has nothing else
        with suppress(RolecallError):  # a file that is not there yet
            return (await self.current()).session_token is not None
        return False

    @property
    def expires_at(self) -> float | None:
        """When they end, in seconds since the epoch; None where nothing is held or nobody knows."""
        return self.credentials.expires_at if isinstance(self.credentials, RenewedCredentials) else None

    @property
    def failure(self) -> RolecallError | None:
        """Why they could not be renewed last; None where they could, or are not renewed."""
        return self.credentials.failure if isinstance(self.credentials, RenewedCredentials) else None

    def start(self) -> None:
        """Fetch them, so that the first pod need not wait. Call it inside the running loop."""
        if isinstance(self.credentials, RenewedCredentials):
            self.credentials.start()

    def forget_failure(self) -> None:
        """Ask again when next somebody needs them, however short ago that failed."""
        if isinstance(self.credentials, RenewedCredentials):
            self.credentials.forget_failure()

    async def close(self) -> None:
        """End what is under way."""
        if isinstance(self.credentials, RenewedCredentials):
            await self.credentials.close()
        if self.near is not None:
            self.near.close()


def choose(environment: Mapping[str, str], given: Surroundings) -> Chosen:
    """Return the source that an environment configures; raises `Misconfigured` where it is none that can work."""
    if environment.get("AWS_ACCESS_KEY_ID"):
        return Chosen("environment", "AWS_ACCESS_KEY_ID", EnvironmentCredentials(environment))
    profile = read_profile(environment)
    if profile.setting("role_arn") and not profile.setting("web_identity_token_file"):
        raise Misconfigured(f"profile {profile.name!r} assumes a role (role_arn), which the agent cannot", hint=_USE)
    if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") or profile.setting("web_identity_token_file"):
        return _web_identity(environment, profile, given)
    if (found := _of_profile(profile)) is not None:
        return found
    if environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or environment.get(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    ):
        return _container(environment, given)
    return _imds(environment, given)


def _web_identity(environment: Mapping[str, str], profile: Profile, given: Surroundings) -> Chosen:
    from rolecall.edges.aws.web_identity import WebIdentity, session_name

    role_arn = environment.get("AWS_ROLE_ARN") or profile.setting("role_arn")
    if not role_arn:
        raise Misconfigured("AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN", hint="set both, or neither")
    name = environment.get("AWS_ROLE_SESSION_NAME") or profile.setting("role_session_name")
    source = WebIdentity(
        role_arn=role_arn,
        token_file=Path(environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") or profile.setting("web_identity_token_file")),
        session_name=name or session_name(given.node),
        endpoint=sts_endpoint(given.region, environment),
        http=given.http,
    )
    where = f"{role_arn} by {source.origin}"
    return Chosen("web-identity", where, _renewed(source.fetch, str(source.origin), given))


def _of_profile(profile: Profile) -> Chosen | None:
    """Return the keys of a profile, also where they are still to come and somebody has said where; None for no keys."""
    sso = next((way for name, way in _OTHER_WAYS.items() if name.startswith("sso") and profile.setting(name)), None)
    other = next((way for name, way in _OTHER_WAYS.items() if profile.setting(name)), None)
    in_file = bool(profile.credentials.get("aws_access_key_id"))
    if sso or (other and not in_file):
        raise Misconfigured(
            f"profile {profile.name!r} gets credentials by {sso or other}, which the agent cannot", hint=_USE
        )
    if not in_file and profile.config.get("aws_access_key_id") and profile.config_path is not None:
        return _file(profile.config_path, profile.config_section, "")
    if in_file or profile.named:
        if profile.credentials_path is None:
            raise Misconfigured(
                f"there is no credentials file for profile {profile.name!r}", hint="set AWS_SHARED_CREDENTIALS_FILE"
            )
        return _file(profile.credentials_path, profile.name, "" if in_file else ", which has no key yet")
    return None


def _file(path: Path, section: str, note: str) -> Chosen:
    return Chosen("shared-file", f"[{section}] of {path}{note}", SharedFileCredentials(path, section))


def _container(environment: Mapping[str, str], given: Surroundings) -> Chosen:
    from rolecall.edges.aws.container import ContainerCredentials

    near = given.near()
    source = ContainerCredentials(environment, near)
    hosts = ("127.0.0.1", "::1") if source.origin.host == "localhost" else (source.origin.host,)
    if any((host, source.origin.port) in given.doors for host in hosts):
        raise Misconfigured(
            f"the agent would ask itself for its own credentials, at {source.origin}",
            hint="the webhook took it for a pod to serve: delete the association of the agent's service account",
        )
    return Chosen("container", str(source.origin), _renewed(source.fetch, str(source.origin), given), near)


def _imds(environment: Mapping[str, str], given: Surroundings) -> Chosen:
    from rolecall.edges.aws.imds import Imds, imds_endpoint

    url = imds_endpoint(environment)
    if url is None:
        raise Misconfigured(
            "there are no AWS credentials to sign with, and AWS_EC2_METADATA_DISABLED keeps the node's role away",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE",
        )
    origin, _ = split_url(url)
    if (origin.host, origin.port) in given.doors:
        raise Misconfigured(
            f"the agent would ask itself for its own credentials, at {origin}",
            hint="unset AWS_EC2_METADATA_SERVICE_ENDPOINT, or let it name the node's own service",
        )
    near = given.near()
    return Chosen("imds", url, _renewed(Imds(url, near).credentials, url, given, extend=True), near)


def _renewed(
    fetch: Callable[[], Awaitable[Lease]], where: str, given: Surroundings, *, extend: bool = False
) -> RenewedCredentials:
    return RenewedCredentials(fetch, where=where, clock=given.clock, dice=given.dice, log=given.log, extend=extend)

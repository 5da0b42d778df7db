"""How one identity plane is set up: every setting, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rolecall.core.names import AccountId, Partition, Region
from rolecall.core.source import Subject
from rolecall.edges.sockets import is_loopback
from rolecall.errors import Misconfigured

# The region patterns of AWS's partitions (botocore, data/partitions.json).
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}


@dataclass(frozen=True, slots=True)
class PlaneConfig:
    """Settings of one plane. Durations are in seconds; `*_port` 0 lets the system choose.

    `max_session_seconds` and `max_token_seconds` cap what is issued, whatever was asked for; they exist to
    see rotation happen within seconds. `trust_policy_quota` is IAM's quota L-C07B4B0D (2,048 to 8,192). Agents that run
    under one of `agent_accounts` may show their own token in place of a signature. With `namespace_restrictions`,
    kube2iam heeds what a namespace allows.
    """

    listen_host: str
    listen_port: int
    agent_host: str
    agent_port: int
    imds_host: str
    imds_port: int
    state_dir: Path
    account: AccountId
    region: Region
    max_session_seconds: int | None = None
    max_token_seconds: int | None = None
    trust_policy_quota: int = 2048
    allow_hosts: tuple[str, ...] = ()
    insecure_expose: bool = False
    allow_private_issuers: tuple[str, ...] = ()
    agent_accounts: tuple[Subject, ...] = ()
    namespace_restrictions: bool = False
    verbosity: str = "info"

    def __post_init__(self) -> None:
        if not is_loopback(self.listen_host) and not self.insecure_expose:
            raise Misconfigured(
                f"--listen {self.listen_host} would let other machines use this plane, with its unsafe keys",
                hint="listen on 127.0.0.1, or add --insecure-expose if that is what you want",
            )
        if not is_loopback(self.agent_host):
            raise Misconfigured(
                f"--agent-listen {self.agent_host} is not a loopback address",
                hint="AWS SDKs refuse other plain-http addresses anyway; use 127.0.0.1",
            )
        if not is_loopback(self.imds_host):
            raise Misconfigured(
                f"--imds-listen {self.imds_host} is not a loopback address",
                hint="it gives the node's role to whoever asks; use 127.0.0.1",
            )
        if not 2048 <= self.trust_policy_quota <= 8192:
            raise Misconfigured(
                f"--trust-policy-quota {self.trust_policy_quota} is outside what IAM allows",
                hint="choose 2048 (the default quota) to 8192 (the most that AWS grants)",
            )
        for flag, seconds in (
            ("--max-session-seconds", self.max_session_seconds),
            ("--max-token-seconds", self.max_token_seconds),
        ):
            if seconds is not None and seconds < 1:
                raise Misconfigured(f"{flag} {seconds} is not a duration", hint="give whole seconds, at least 1")

    @property
    def partition(self) -> Partition:
        """The AWS partition that the region belongs to."""
        found = (name for prefix, name in _PARTITIONS.items() if self.region.startswith(prefix))
        return Partition(next(found, "aws"))

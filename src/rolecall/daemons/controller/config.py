"""The controller's settings, checked before anything is opened."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolecall.core.names import Namespace, PodName, Region
from rolecall.daemons.controller.flags import parser
from rolecall.daemons.environment import seconds, verbosity_word
from rolecall.edges.aws.profiles import read_profile
from rolecall.edges.kube.config import ACCOUNT
from rolecall.errors import BadName, Misconfigured
from rolecall.mechanisms.metadata_proxy.settings import SecretFiles

_BASE = re.compile(r"arn:[a-z0-9-]+:iam::[0-9]{12}:role(/[!-.0-~]+)*/?", re.ASCII)
_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[\w.-]{1,63}", re.ASCII)
_SHORTEST_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """Everything the controller is told; durations are in seconds. Port 0 opens none.

    `rules.base` is empty where the instance profile says it, `region` None where the instance does. `lease` is the
    namespace and name of the Lease; None works without one.
    """

    rules: SecretFiles
    assume_role: str
    interval: float
    region: Region | None
    sts_qps: float
    workers: int
    namespace: str
    kubeconfig: Path | None
    apiserver: str | None
    lease: tuple[str, str] | None
    instance: str
    host: str
    port: int
    verbosity: str
    log_format: str
    environment: Mapping[str, str]


def command_line(argv: Sequence[str] | None) -> list[str]:
    """Return the arguments; the process's own where they are None."""
    return list(sys.argv[1:] if argv is None else argv)


def read_config(
    argv: Sequence[str] | None, environment: Mapping[str, str] | None = None, account: Path = ACCOUNT
) -> ControllerConfig:
    """Return the settings; raises `Misconfigured` for any that cannot work.

    Arguments and environment are the process's own where they are None; `account` is where a pod's account is mounted.
    """
    env = dict(os.environ if environment is None else environment)
    flags = parser().parse_args(command_line(argv))
    try:
        said = flags.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
        said = said or read_profile(env).setting("region")
        region = Region.parse(said) if said else None
        namespace = Namespace.parse(flags.namespace) if flags.namespace else ""
        lease = _lease(flags, env, account) if flags.leader_elect else None
    except BadName as fault:
        raise Misconfigured(fault.message, hint="see: rolecall controller serve --help") from None
    interval = seconds(flags.interval)
    if interval < _SHORTEST_INTERVAL:
        raise Misconfigured("--interval is under a second", hint="changes are acted on at once; 10m is plenty")
    return ControllerConfig(
        rules=_rules(flags),
        assume_role=flags.assume_role,
        interval=interval,
        region=region,
        sts_qps=flags.sts_qps,
        workers=flags.workers,
        namespace=namespace,
        kubeconfig=Path(flags.kubeconfig) if flags.kubeconfig else None,
        apiserver=flags.apiserver or None,
        lease=lease,
        instance=env.get("POD_NAME") or env.get("HOSTNAME") or "controller",
        host=flags.bind_address,
        port=flags.port,
        verbosity="debug" if flags.debug else verbosity_word(flags.verbosity),
        log_format=flags.log_format,
        environment=env,
    )


def checked_base(text: str) -> str:
    """Return a base ARN that a name can stand behind; raises `Misconfigured` where it is none."""
    if not _BASE.fullmatch(text):
        raise Misconfigured(
            f"the base ARN {text[:80]!r} is none", hint="--base-role-arn looks like arn:aws:iam::123456789012:role/"
        )
    return f"{text}/" if text.endswith(":role") else text


def _rules(flags: argparse.Namespace) -> SecretFiles:
    if not _KEY.fullmatch(flags.namespace_key):
        raise Misconfigured(
            f"--namespace-key {flags.namespace_key[:80]!r} is no annotation's name", hint="such as team.example/roles"
        )
    return SecretFiles(
        base=checked_base(flags.base_role_arn) if flags.base_role_arn else "",
        restrictions=flags.namespace_restrictions,
        namespace_key=flags.namespace_key,
        written=flags.namespace_restriction_format,
        refresh_limit=seconds(flags.refresh_limit),
    )


def _lease(flags: argparse.Namespace, env: Mapping[str, str], account: Path) -> tuple[str, str]:
    """Return where the Lease is: in the namespace that is named, else in the pod's own."""
    name = PodName.parse(flags.lease_name)  # a Lease's name has the same form
    named = flags.lease_namespace or env.get("POD_NAMESPACE") or ""
    if not named:
        try:
            named = (account / "namespace").read_text("utf-8")[:100].strip()
        except (OSError, UnicodeDecodeError):
            raise Misconfigured(
                "the Lease needs a namespace, and this is no pod",
                hint="give --lease-namespace NAME, or --leader-elect=false for a single replica",
            ) from None
    return Namespace.parse(named), name

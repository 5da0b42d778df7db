"""The controller's command line: every flag of kube-aws-iam-controller, and ours (legacy-proxies.md §6.2)."""

from __future__ import annotations

import argparse

from rolecall.daemons.environment import Parser, add_switch, port
from rolecall.edges.telemetry import FORMATS


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``rolecall controller serve`` and of ``kube-aws-iam-controller``."""
    made = Parser(
        prog="rolecall controller",
        allow_abbrev=False,
        usage="rolecall controller serve [OPTIONS]",
        description="The controller: each AWSIAMRole becomes a Secret with its role's credentials, kept fresh.",
        epilog="example: rolecall controller serve --base-role-arn arn:aws:iam::123456789012:role/"
        " --namespace-restrictions everywhere. What a namespace may have is its annotation"
        " iam.amazonaws.com/allowed-roles: '[\"app-*\"]'. All of it: docs/reference/controller.md",
    )
    made.add_argument("command", choices=("serve",), help="work until SIGTERM")
    _add_roles(made)
    _add_namespaces(made)
    _add_cluster(made)
    _add_leader(made)
    _add_view(made)
    return made


def _add_roles(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("roles").add_argument
    add("--base-role-arn", metavar="ARN", default="", help="what a role's name is put behind (the instance profile's)")
    add(
        "--assume-role", metavar="ROLE", default="", help="assume this role first, by name or ARN; sessions get 1h then"
    )
    add("--refresh-limit", metavar="DURATION", default="15m", help="renew with this much left, or a third of it (15m)")
    add(
        "--interval",
        metavar="DURATION",
        default="10m",
        help="how often a resource is looked at where nothing changes; changes are acted on at once (10m)",
    )
    add("--region", metavar="REGION", default="", help="of STS (AWS_REGION, the profile's, else the instance's)")
    add("--sts-qps", metavar="N", type=_rate, default=10.0, help="sessions asked for in a second at most (10)")
    add("--workers", metavar="N", type=_workers, default=8, help="resources that are worked on at once (8)")


def _add_namespaces(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("who may have which role").add_argument
    add("--namespace", metavar="NAME", default="", help="work in this namespace only (all)")
    add(
        "--namespace-restrictions",
        choices=("where-set", "everywhere", "off"),
        default="where-set",
        help="which namespaces' lists count: of those that have one, of all, of none (where-set)",
    )
    add(
        "--namespace-key",
        metavar="KEY",
        default="iam.amazonaws.com/allowed-roles",
        help="a namespace's annotation with its list (iam.amazonaws.com/allowed-roles)",
    )
    add(
        "--namespace-restriction-format",
        choices=("glob", "regexp"),
        default="glob",
        help="what the list is of (glob)",
    )


def _add_cluster(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("API server").add_argument
    add("--kubeconfig", metavar="FILE", default="", help="how to reach it (the pod's own account)")
    add("--apiserver", metavar="URL", default="", help="where it is, if not where that says")


def _add_leader(made: argparse.ArgumentParser) -> None:
    add = (group := made.add_argument_group("replicas")).add_argument
    add_switch(group, "--leader-elect", "work only while holding the Lease (true)", default=True)
    add("--lease-name", metavar="NAME", default="kube-aws-iam-controller", help="its name (kube-aws-iam-controller)")
    add("--lease-namespace", metavar="NAME", default="", help="its namespace (the pod's own)")


def _add_view(made: argparse.ArgumentParser) -> None:
    add = (group := made.add_argument_group("how it is seen")).add_argument
    add("--bind-address", metavar="HOST", default="0.0.0.0", help="address of the port (0.0.0.0)")  # noqa: S104 - the original's
    add("--port", metavar="PORT", type=port, default=8080, help="port of /healthz, /readyz, /metrics (8080; 0: none)")
    group.add_argument("--debug", action="store_true", help="the same as --verbosity debug")
    group.add_argument("--no-debug", action="store_false", dest="debug", help=argparse.SUPPRESS)
    add("--verbosity", metavar="WORD", default="info", help="error, warn, info or debug (info)")
    add("--log-format", choices=tuple(FORMATS), default="json", help="form of log lines (json)")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.1 <= rate <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a number of calls a second: use 0.1 to 1000")
    return rate


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 3 or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a number of workers: use 1 to 100")
    return int(text)

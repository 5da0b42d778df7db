"""The settings of kiam's server, and of kiam's agent as words for ours (legacy-proxies.md §4.2)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolecall.core.names import Region, RoleArn
from rolecall.daemons.environment import Parser, add_switch, seconds, switch
from rolecall.edges.telemetry import FORMATS
from rolecall.edges.tls import TlsFiles
from rolecall.errors import BadName, Misconfigured
from rolecall.mechanisms.metadata_proxy.roles import check_base
from rolecall.mechanisms.metadata_proxy.settings import Kiam

# Flags of kiam's that are taken and change nothing, and why: of both, of the agent, of the server.
_GRPC = "agents and servers of ours speak HTTPS"
_NO_PROFILER = "there is no such listener"
IGNORED = {
    "--grpc-keepalive-time-duration": _GRPC,
    "--grpc-keepalive-timeout-duration": _GRPC,
    "--grpc-keepalive-time-ms": _GRPC,
    "--grpc-keepalive-timeout-ms": _GRPC,
    "--grpc-keepalive-permit-without-stream": _GRPC,
    "--prometheus-sync-interval": "counters are read when they are asked for",
    "--pprof-listen-addr": _NO_PROFILER,
    "--statsd": "metrics are Prometheus'",
    "--statsd-prefix": "metrics are Prometheus'",
    "--statsd-interval": "metrics are Prometheus'",
}
IGNORED_BY_AGENT = {
    "--server-address-refresh": "names are resolved for every connection",
    "--gateway-timeout-creation": "a server that is away is no reason not to start",
    "--iptables-remove": "the rules stay; `rolecall agent initialize --intercept imds --remove` takes them away",
    "--allow-ip-query": "whoever asks is known by the address that it asks from, and nothing else",
}
IGNORED_BY_SERVER = {
    "--sync": "watches are resumed where they ended",
    "--fetchers": "--prefetch is a rate",
    "--prefetch-buffer-size": "pods are read out of the watch, and none is dropped",
    "--session-refresh": "sessions are renewed at half of their life, with jitter",
    "--grpc-max-connection-idle-duration": _GRPC,
    "--grpc-max-connection-age-duration": _GRPC,
    "--grpc-max-connection-age-grace-duration": _GRPC,
}
_SWITCHES = {"--grpc-keepalive-permit-without-stream", "--iptables-remove", "--allow-ip-query"}
_INTERCEPTED = "169.254.170.23"  # where the interception leads, and nothing else
_OWN_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_LEVELS = {"debug": "debug", "info": "info", "warn": "warn", "error": "error"}


@dataclass(frozen=True, slots=True)
class KiamServerConfig:
    """Everything that the server is told. `agents` are service accounts, ``namespace/name``; empty: any agent."""

    host: str
    port: int
    certificate: Path
    key: Path
    ca: Path
    kubeconfig: Path | None
    metrics: tuple[str, int] | None
    rules: Kiam
    autodetect: bool
    assume: RoleArn | None
    region: Region | None
    agents: tuple[str, ...]
    audiences: tuple[str, ...]
    prefetch: float
    verbosity: str
    log_format: str
    environment: Mapping[str, str]
    notes: tuple[tuple[str, str], ...] = ()


def command_line(argv: Sequence[str] | None) -> list[str]:
    """Return the arguments; the process's own where they are None."""
    return list(sys.argv[1:] if argv is None else argv)


def server_parser() -> argparse.ArgumentParser:
    """Return the parser of ``kiam server``."""
    made = Parser(
        prog="kiam server",
        allow_abbrev=False,
        description="Knows the cluster's pods and assumes their roles, for agents that may not.",
        epilog="What each option does: docs/reference/kiam.md",
    )
    add = made.add_argument
    _add_tls(made)
    add("--bind", metavar="HOST:PORT", default="localhost:9610", help="where agents ask (localhost:9610)")
    add("--kubeconfig", metavar="FILE", default="", help="how to reach the API server (the pod's own account)")
    add("--role-base-arn", metavar="ARN", default="", help="what a role's name is completed with")
    add_switch(made, "--role-base-arn-autodetect", "find it by the node's instance profile")
    add_switch(made, "--disable-strict-namespace-regexp", "a namespace's expression may match a part of the ARN")
    add("--session", metavar="NAME", default="kiam", help="session name of pods without an annotation (kiam)")
    add("--session-duration", metavar="DURATION", default="1h", help="how long a session lasts, 15m to 12h (1h)")
    add("--assume-role-arn", metavar="ARN", default="", help="assume this role first, and pods' roles with it")
    add("--region", metavar="REGION", default="", help="region of STS (AWS_REGION)")
    add(
        "--agent-service-account",
        metavar="NS/NAME",
        action="append",
        default=[],
        help="whose tokens agents show; repeatable (kube-system/kiam-agent)",
    )
    add("--agent-token-audience", metavar="NAME", action="append", default=[], help="audience of those tokens")
    add_switch(
        made, "--any-node", "serve agents of every node alike, as kiam did: one agent's key opens every pod's role"
    )
    add("--prefetch", metavar="N", type=float, default=0.0, help="roles a second that are fetched for new pods (0)")
    _add_view(made)
    _add_ignored(made, IGNORED | IGNORED_BY_SERVER)
    return made


def agent_parser() -> argparse.ArgumentParser:
    """Return the parser of ``kiam agent``."""
    made = Parser(prog="kiam agent", allow_abbrev=False, epilog="What each option does: docs/reference/kiam.md")
    add = made.add_argument
    _add_tls(made)
    add("--port", metavar="PORT", default="3100", help="port of the metadata door (3100)")
    add("--host", metavar="ADDRESS", default="", help="its address (HOST_IP)")
    add("--server-address", metavar="HOST:PORT", default="localhost:9610", help="kiam's server (localhost:9610)")
    add(
        "--allow-route-regexp",
        "--whitelist-route-regexp",
        metavar="RE",
        default="^$",
        help="paths of the node's documents that pods read (^$)",
    )
    add("--token-file", metavar="FILE", default="", help="the agent's token (its service account's)")
    add_switch(made, "--iptables", "bring pods here by rules of the packet filter, as rolecall agent initialize does")
    add("--host-interface", metavar="PATTERN", default="docker0", help="by which interface they arrive (docker0)")
    _add_view(made)
    _add_ignored(made, IGNORED | IGNORED_BY_AGENT)
    return made


def read_server(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> KiamServerConfig:
    """Return the server's settings; raises `Misconfigured`. The environment is the process's own where it is None."""
    env = dict(os.environ if environment is None else environment)
    flags = server_parser().parse_args(argv)
    host, port = _address(flags.bind, "--bind")
    said = flags.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
    try:
        assume = RoleArn.parse(flags.assume_role_arn) if flags.assume_role_arn else None
        region = Region.parse(said) if said else None
    except BadName as fault:
        raise Misconfigured(fault.message, hint="see: kiam server --help") from None
    agents = tuple(flags.agent_service_account) or ("kube-system/kiam-agent",)
    return KiamServerConfig(
        host=host,
        port=port,
        certificate=Path(flags.cert),
        key=Path(flags.key),
        ca=Path(flags.ca),
        kubeconfig=Path(flags.kubeconfig) if flags.kubeconfig else None,
        metrics=_address(flags.prometheus_listen_addr, "--prometheus-listen-addr")
        if flags.prometheus_listen_addr
        else None,
        rules=_rules(flags, chained=assume is not None),
        autodetect=flags.role_base_arn_autodetect,
        assume=assume,
        region=region,
        agents=() if flags.any_node else _accounts(agents),
        audiences=tuple(flags.agent_token_audience),
        prefetch=max(0.0, flags.prefetch),
        verbosity=_LEVELS[flags.level],
        log_format="json" if flags.json_log else flags.log_format,
        environment=env,
        notes=_notes(flags, IGNORED | IGNORED_BY_SERVER),
    )


def _rules(flags: argparse.Namespace, *, chained: bool) -> Kiam:
    if bool(flags.role_base_arn) == bool(flags.role_base_arn_autodetect):
        raise Misconfigured(
            "the base ARN of roles is not known" if not flags.role_base_arn else "two ways to know the base ARN",
            hint="give --role-base-arn or --role-base-arn-autodetect, not both",
        )
    duration = seconds(flags.session_duration)
    if not 900 <= duration <= 43_200:
        raise Misconfigured(f"--session-duration {flags.session_duration} is not what STS gives", hint="15m to 12h")
    return Kiam(
        base=check_base(flags.role_base_arn) if flags.role_base_arn else "",
        session=flags.session,
        rule="loose" if flags.disable_strict_namespace_regexp else "strict",
        duration=int(min(duration, 3600.0) if chained else duration),  # a chained session has an hour at most
    )


def agent_words(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[list[str], list[str]]:
    """Return the words for our agent that mean what kiam's mean, and the flags that do nothing, as sentences."""
    env = dict(os.environ if environment is None else environment)
    flags = agent_parser().parse_args(argv)
    host = flags.host or env.get("HOST_IP") or ""
    if not host:
        raise Misconfigured("--host is not set", hint="set it, or HOST_IP by the downward API (status.hostIP)")
    at = [f"--imds-bind-hosts={_INTERCEPTED}"] if flags.iptables else [f"--imds-bind-hosts={host}", "--imds-anywhere"]
    words = ["serve", "--dialect=kiam", f"--imds-port={flags.port}", *at]
    words += [f"--kiam-server=https://{flags.server_address}", f"--kiam-certificate={flags.cert}"]
    words += [f"--kiam-key={flags.key}", f"--kiam-ca={flags.ca}", f"--allow-route-regexp={flags.allow_route_regexp}"]
    token = flags.token_file or (_OWN_TOKEN if env.get("KUBERNETES_SERVICE_HOST") else "")
    words += [f"--kiam-token-file={token}"] if token else []
    words += [f"--verbosity={_LEVELS[flags.level]}", f"--log-format={'json' if flags.json_log else flags.log_format}"]
    place = _address(flags.prometheus_listen_addr, "--prometheus-listen-addr") if flags.prometheus_listen_addr else None
    words += ["--probe-port=0", f"--metrics-port={place[1] if place else 0}"]
    if place:
        words.append(f"--metrics-address={place[0] or '0.0.0.0'}")  # noqa: S104 - as kiam's, it is asked for
    return words, [f"{flag}: {why}" for flag, why in _notes(flags, IGNORED | IGNORED_BY_AGENT)]


def interception_words(argv: Sequence[str]) -> list[str]:
    """Return the command line of ``rolecall agent initialize`` that ``--iptables`` stands for; empty without it."""
    flags = agent_parser().parse_args(argv)
    if not flags.iptables:
        return []
    words = ["initialize", "--intercept", "imds", "--dialect", "kiam", "-b", _INTERCEPTED]
    return [*words, f"--host-interface={flags.host_interface}", f"--imds-port={flags.port}"]


def read_health(argv: Sequence[str]) -> tuple[str, TlsFiles, float]:
    """Return the server's address, what is shown to it, and the seconds to ask for; raises `Misconfigured`."""
    made = Parser(prog="kiam health", allow_abbrev=False, description="Ask a server whether it is well.")
    _add_tls(made)
    made.add_argument("--server-address", metavar="HOST:PORT", default="localhost:9610", help="kiam's server")
    made.add_argument("--timeout", metavar="DURATION", default="1s", help="how long it is asked (1s)")
    _add_view(made)
    _add_ignored(made, IGNORED | IGNORED_BY_AGENT)
    flags = made.parse_args(argv)
    return flags.server_address, TlsFiles(Path(flags.ca), Path(flags.cert), Path(flags.key)), seconds(flags.timeout)


def _add_tls(made: argparse.ArgumentParser) -> None:
    for flag, what in (("--cert", "its certificate"), ("--key", "its private key"), ("--ca", "the other's authority")):
        made.add_argument(flag, metavar="FILE", required=True, help=f"{what}, in PEM form")


def _add_view(made: argparse.ArgumentParser) -> None:
    add_switch(made, "--json-log", "log lines are JSON")
    made.add_argument("--log-format", choices=tuple(FORMATS), default="logfmt", help="form of log lines (logfmt)")
    made.add_argument("--level", choices=tuple(_LEVELS), default="info", help="what is logged (info)")
    made.add_argument("--prometheus-listen-addr", metavar="HOST:PORT", default="", help="serve /metrics there (none)")


def _add_ignored(made: argparse.ArgumentParser, ignored: Mapping[str, str]) -> None:
    for flag in ignored:
        if flag in _SWITCHES:
            made.add_argument(flag, nargs="?", const=True, default=None, type=switch, help=argparse.SUPPRESS)
        else:
            made.add_argument(flag, default=None, help=argparse.SUPPRESS)


def _notes(flags: argparse.Namespace, ignored: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (flag, why) for flag, why in ignored.items() if getattr(flags, flag[2:].replace("-", "_")) not in (None, False)
    )


def _accounts(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        namespace, slash, account = name.partition("/")
        if not (namespace and slash and account) or "/" in account:
            raise Misconfigured(f"--agent-service-account {name[:80]!r} is none", hint="write namespace/name")
    return tuple(names)


def _address(text: str, flag: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise Misconfigured(f"{flag} {text[:80]!r} is no address", hint="write it as host:port")
    return host.strip("[]").replace("localhost", "127.0.0.1"), int(port)

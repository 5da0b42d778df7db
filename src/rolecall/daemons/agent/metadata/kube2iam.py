"""``kube2iam``: the agent's metadata door under the name and with the command line of kube2iam 0.15 (§5.2).

Its flags become the agent's; `FLAGS` says what becomes of each, and docs/reference/metadata-door.md shows that table.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rolecall import __version__
from rolecall.daemons.agent.config import command_line
from rolecall.daemons.environment import Parser, seconds, switch
from rolecall.daemons.runner import report
from rolecall.errors import Misconfigured, RolecallError

NAME = "kube2iam"
Verdict = Literal["same", "better", "ignored", "refused"]
_LEVELS = {"panic", "fatal", "error", "warning", "info", "debug", "trace"}
_AGENTS_METRICS = "2705"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of kube2iam. `to` is the agent's; a `switch` is true or false."""

    verdict: Verdict
    default: str = ""
    to: str = ""
    switch: bool = False


FLAGS: dict[str, Flag] = {
    "--api-server": Flag("refused"),
    "--api-token": Flag("refused"),
    "--app-port": Flag("same", "8181", "--imds-port"),
    "--auto-discover-base-arn": Flag("same", "false", "--auto-discover-base-arn", switch=True),
    "--auto-discover-default-role": Flag("same", "false", "--auto-discover-default-role", switch=True),
    "--backoff-max-elapsed-time": Flag("ignored", "2s"),
    "--backoff-max-interval": Flag("ignored", "1s"),
    "--base-role-arn": Flag("same", "", "--base-role-arn"),
    "--cache-resync-period": Flag("ignored", "30m"),
    "--debug": Flag("better", "false", "--imds-debug-store", switch=True),
    "--default-role": Flag("same", "", "--default-role"),
    "--host-interface": Flag("better", "docker0"),
    "--host-ip": Flag("better", ""),
    "--iam-external-id": Flag("same", "iam.amazonaws.com/external-id", "--iam-external-id"),
    "--iam-role-error-ttl": Flag("ignored", "0s"),
    "--iam-role-key": Flag("same", "iam.amazonaws.com/role", "--iam-role-key"),
    "--iam-role-session-ttl": Flag("better", "15m"),
    "--insecure": Flag("refused", "false", switch=True),
    "--iptables": Flag("better", "false", switch=True),
    "--kubeconfig": Flag("same", "", "--kubeconfig"),
    "--log-format": Flag("better", "text"),
    "--log-level": Flag("same", "info"),
    "--metadata-addr": Flag("refused", "169.254.169.254"),
    "--metrics-port": Flag("better", "8181"),
    "--namespace-key": Flag("same", "iam.amazonaws.com/allowed-roles", "--namespace-key"),
    "--namespace-restriction-format": Flag("better", "glob", "--namespace-restriction-format"),
    "--namespace-restrictions": Flag("same", "false", "--namespace-restrictions", switch=True),
    "--node": Flag("same", ""),
    "--resolve-duplicate-cache-ips": Flag("ignored", "false", switch=True),
    "--use-regional-sts-endpoint": Flag("ignored", "true", switch=True),
    "--verbose": Flag("same", "false", switch=True),
    "--version": Flag("same", "false", switch=True),
}
_INSTEAD = {
    "--api-server": "name the API server in a file: --kubeconfig",
    "--api-token": "a token in a command line is seen by everybody on the node; name a file: --kubeconfig",
    "--insecure": "give the API server's authority in a file: --kubeconfig",
    "--metadata-addr": "the node's own service is where AWS_EC2_METADATA_SERVICE_ENDPOINT says",
}


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, or the process's own; return 0, or 1 where it could not be done."""
    try:
        return _run(command_line(argv)[1])
    except RolecallError as error:
        report("Error", error)
        return 1


def _run(words: Sequence[str]) -> int:
    flags = parse(words)
    if flags.version:
        sys.stdout.write(f"{NAME} rolecall-{__version__}\n")
        return 0
    from rolecall.daemons.agent.main import serve

    for line in interception_words(flags):
        from rolecall.daemons.agent.initialize import initialize_command

        initialize_command(line)
    return serve(agent_words(flags))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=NAME, allow_abbrev=False, description="Rolecall's metadata door, in the place of kube2iam.")
    for name, flag in FLAGS.items():
        words = f"{flag.verdict}; see docs/reference/metadata-door.md"
        if flag.switch:
            parser.add_argument(name, nargs="?", const=True, default=flag.default == "true", type=switch, help=words)
        else:
            parser.add_argument(name, default="", help=words)
    return parser


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return kube2iam's flags; raises `Misconfigured`."""
    return _parser().parse_args(words)


def agent_words(flags: argparse.Namespace) -> list[str]:
    """Return the agent's command line; raises `Misconfigured` for what has another way here."""
    get = _getter(flags)
    for name, hint in _INSTEAD.items():
        if (found := get(name)) and found != FLAGS[name].default:
            raise Misconfigured(f"{name} is not taken", hint=hint)
    words = ["serve", "--dialect", NAME, "--imds-port", str(get("--app-port") or FLAGS["--app-port"].default)]
    for name, flag in FLAGS.items():
        if flag.to and name != "--app-port" and get(name):
            words += [flag.to] if flag.switch else [flag.to, str(get(name))]
    words += ["--node-name", str(get("--node"))] if get("--node") else ["--imds-every-node"]
    return [*words, *_listening(flags), *_logging(flags), *_lasting(flags)]


def _listening(flags: argparse.Namespace) -> list[str]:
    """Return where the door and the metrics are; metrics never at the door, where pods would read them."""
    app, metrics = flags.app_port or "8181", flags.metrics_port or "8181"
    at = _AGENTS_METRICS if metrics == app else metrics
    if flags.iptables:
        return ["--imds-bind-hosts", "169.254.170.23", "--metrics-port", at]
    return ["--imds-anywhere", "--imds-bind-hosts", flags.host_ip or "0.0.0.0", "--metrics-port", at]  # noqa: S104


def _logging(flags: argparse.Namespace) -> list[str]:
    level = "debug" if flags.verbose or flags.debug else (flags.log_level or "info")
    if level not in _LEVELS:
        raise Misconfigured(f"--log-level {level[:80]!r} is none", hint=f"use one of {', '.join(sorted(_LEVELS))}")
    return ["--verbosity", level, "--log-format", "json" if flags.log_format == "json" else "logfmt"]


def _lasting(flags: argparse.Namespace) -> list[str]:
    """Return how long sessions last: twice the flag's time, as kube2iam asks for, and an hour at least."""
    wanted = 2 * seconds(flags.iam_role_session_ttl) if flags.iam_role_session_ttl else 0.0
    return ["--session-duration", f"{max(3600, int(wanted))}s"]


def interception_words(flags: argparse.Namespace) -> list[list[str]]:
    """Return the command lines of ``rolecall agent initialize`` that ``--iptables`` stands for."""
    if not flags.iptables:
        return []
    if flags.host_ip:
        try:
            ipaddress.ip_address(flags.host_ip)
        except ValueError:
            raise Misconfigured(f"--host-ip {flags.host_ip[:80]!r} is no address", hint="leave it out") from None
    door = ["-b", "169.254.170.23"]
    rules = ["--intercept", "imds", "--dialect", NAME, "--host-interface", flags.host_interface or "docker0"]
    return [["initialize", *door], ["initialize", *door, *rules, "--imds-port", flags.app_port or "8181"]]


def _getter(flags: argparse.Namespace) -> Callable[[str], object]:
    return lambda name: getattr(flags, name.strip("-").replace("-", "_"))

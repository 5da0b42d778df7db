"""The agent's flags: those of AWS's agent, and our own. What they come to is in `config`."""

from __future__ import annotations

import argparse
import math

from rolecall.daemons.agent.metadata.flags import add_flags
from rolecall.daemons.environment import Parser, port, switch
from rolecall.edges.telemetry import FORMATS

# Flags of AWS's agent that are taken and change nothing, and why.
IGNORED = {
    "--rotate-credentials": "the shared credentials file is always read again when it changes",
    "--enable-imds-credentials": "credentials that EC2 delivers for pods are not read; EKS Auth is asked",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of `serve`."""
    made = Parser(
        prog="rolecall agent",
        allow_abbrev=False,
        usage="rolecall agent serve --cluster-name NAME [OPTIONS]",
        description="The node agent: hands each pod its AWS role's credentials, at 169.254.170.23.",
        epilog="example: rolecall agent serve --cluster-name prod --region us-west-2. Other commands: initialize, which"
        " makes the addresses of the door; status; version.",
    )
    made.add_argument("command", choices=("serve", "server"), help="serve the door until SIGTERM")
    _add_door(made)
    _add_upstream(made)
    _add_view(made)
    add_flags(made)
    _add_ignored(made)
    made.add_argument("--exit-with-stdin", action="store_true", help=argparse.SUPPRESS)
    return made


def _add_door(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-c", "--cluster-name", metavar="NAME", help="the cluster whose pods run here")
    add(
        "--clusters-file",
        metavar="FILE",
        help="JSON file, issuer URL to cluster name: choose the cluster by the token's issuer",
    )
    add("--node-name", metavar="NAME", help="refuse tokens of pods of other nodes (NODE_NAME)")
    add(
        "--source-check",
        choices=("off", "warn", "enforce"),
        default="off",
        help="whether a token must come from its own pod's address (off)",
    )
    add("--kubeconfig", metavar="FILE", help="how to ask for this node's pods (the pod's own account)")
    add("-p", "--port", metavar="PORT", type=port, default=80, help="port of the door (80)")
    add("-b", "--bind-hosts", metavar="HOST", action="append", help="address of the door; may be repeated")
    add(
        "--probe-port",
        metavar="PORT",
        type=port,
        default=2703,
        help="port of /healthz and /readyz on localhost (2703; 0: none)",
    )
    add("--metrics-address", metavar="HOST", default="0.0.0.0", help="address of /metrics (0.0.0.0)")  # noqa: S104 - AWS's default
    add("--metrics-port", metavar="PORT", type=port, default=2705, help="port of /metrics (2705; 0: none)")


def _add_upstream(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--max-credential-retention-before-renewal", metavar="DURATION", default="3h", help="renew after this long (3h)"
    )
    add("--max-cache-size", metavar="N", type=_count, default=2000, help="credentials held at most (2000)")
    add("--max-service-qps", metavar="N", type=_rate, default=3, help="renewals started a second (3)")
    add("--grace", metavar="DURATION", default="15m", help="serve what is held so long past an AccessDenied (15m)")
    add("--warm-file", metavar="FILE", help="keep what is held in this file on tmpfs, for the agent after this one")
    add("--endpoint", metavar="URL", default="", help="another EKS Auth, such as Rolecall's server")
    add("--upstream-token-file", metavar="FILE", help="show the endpoint this service-account token; sign nothing")
    add("--upstream-certificate", metavar="FILE", help="show the endpoint this client certificate; sign nothing")
    add("--upstream-key", metavar="FILE", help="its key (in the certificate's file)")
    add("--upstream-ca", metavar="FILE", help="authorities of the endpoint's certificate (AWS_CA_BUNDLE)")
    add("--region", metavar="REGION", help="AWS region (AWS_REGION, the profile's, else the instance's)")


def _add_view(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--log-format", choices=tuple(FORMATS), default="json", help="form of log lines (json)")
    add("--admin-socket", metavar="PATH", help="answer `rolecall agent status` at this socket (none)")
    add(
        "-v",
        "--verbosity",
        metavar="WORD",
        default="info",
        help="panic, fatal, error, warn, info, debug or trace (info)",
    )


def _add_ignored(parser: argparse.ArgumentParser) -> None:
    for flag in IGNORED:
        parser.add_argument(flag, nargs="?", const=True, default=False, type=switch, help=argparse.SUPPRESS)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a number of credentials: use 0 or more")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not math.isfinite(rate):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a number of calls a second")
    return rate

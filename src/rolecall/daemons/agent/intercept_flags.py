"""The flags of ``initialize`` that speak of interception, read into what is to be made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rolecall.daemons.agent.config import LINK_LOCAL
from rolecall.daemons.agent.intercept import Interception, Interfaces
from rolecall.daemons.environment import port
from rolecall.errors import Misconfigured

DENY = "deny"
DIALECTS = (DENY, "host-role", "kube2iam", "kiam", "metadataproxy")
IMDS_PORT = 8181
"""Where the agent's metadata door is, if nothing else is said: kube2iam's port."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    add = parser.add_argument
    add("--intercept", choices=("imds",), help="keep pods from the node's metadata service, at 169.254.169.254")
    add("--dialect", choices=DIALECTS, help="who answers pods in its place: the agent, or with deny nobody (deny)")
    add(
        "--host-interface",
        metavar="PATTERN",
        action="append",
        help="interface by which pods arrive: cni0, cali+, '!eth0'; may be repeated (with deny: every)",
    )
    add("--imds-port", metavar="PORT", type=port, help=f"port of the agent's metadata door ({IMDS_PORT}; deny: none)")
    add("--canary", action="store_true", help="then connect as a pod would, and fail if that goes wrong (SYS_ADMIN)")
    add("--check", action="store_true", help="change nothing, and fail if the rules of --intercept are not there")
    add("--dry-run", action="store_true", help="print the rules of --intercept, for `nft -f`, and do nothing")


def read_interception(flags: argparse.Namespace, hosts: Sequence[str]) -> Interception | None:
    """Return what to intercept for a door at these hosts; raises `Misconfigured`."""
    dialect, interfaces = flags.dialect or DENY, flags.host_interface or []
    if flags.intercept is None:
        if interfaces or flags.dialect or flags.imds_port is not None or flags.dry_run or flags.canary or flags.check:
            raise Misconfigured(
                "--dialect, --host-interface, --imds-port, --canary, --check and --dry-run are of an interception",
                hint="add --intercept imds",
            )
        return None
    pods = Interfaces.parse(interfaces)
    if flags.remove:
        if flags.dry_run or flags.canary or flags.check:
            hint = "leave out --dry-run, --canary and --check"
            raise Misconfigured("--remove has nothing to print or to try", hint=hint)
        return Interception(pods)
    if dialect == DENY and flags.imds_port is None:
        if flags.bind_hosts:
            raise Misconfigured(
                "--dialect deny has no door, unless there is a port",
                hint="add --imds-port for documents without credentials, or leave out --bind-hosts",
            )
        return Interception(pods)
    if not interfaces:
        raise Misconfigured(
            f"--dialect {dialect}, for a door, must know by which interfaces pods arrive",
            hint="add --host-interface, such as cali+, cni0 or '!eth0'; `ip route get` with a pod's address shows one",
        )
    if not all(host in LINK_LOCAL for host in hosts):
        raise Misconfigured("pods do not reach a door at a loopback address", hint="leave out --bind-hosts")
    if flags.imds_port == 0:
        raise Misconfigured("--imds-port 0 is no door", hint="give the port that the agent serves metadata at")
    return Interception(pods, tuple(hosts), flags.imds_port or IMDS_PORT)

"""``initialize``: the link that holds the agent's addresses, made before the agent serves, and taken away again.

It is what AWS's agent makes (aws-pod-identity.md §1.9), under the same name, so that either finds the other's: a link,
its two addresses, and a route to each in the main table. A link that was made here carries an alias that says so.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network

from rolecall.daemons.agent.config import LINK_LOCAL, node_local_host
from rolecall.daemons.agent.intercept import Interception, check, install, show, uninstall
from rolecall.daemons.agent.intercept_flags import add_flags, read_interception
from rolecall.daemons.environment import Parser, verbosity_word
from rolecall.edges.netlink import KernelRefused, Netlink, open_netlink
from rolecall.edges.rtnetlink import Address, Link, Network, Route, family_of
from rolecall.edges.telemetry import Log, configure
from rolecall.errors import Misconfigured

LINK = "pod-id-link0"
ALIAS = "rolecall agent"
# A bridge without ports does what a dummy does, on the kernels that have no dummy.
KINDS = ("dummy", "bridge")


@dataclass(frozen=True, slots=True)
class InitializeConfig:
    """What to make, or that it is to be taken away. `hosts` are addresses without brackets."""

    hosts: tuple[str, ...]
    remove: bool
    verbosity: str
    interception: Interception | None = None
    dry_run: bool = False
    canary: bool = False
    check: bool = False


def initialize_command(argv: Sequence[str]) -> int:
    """Run the command with these arguments, its own name first; raises `Misconfigured`. Returns 0."""
    config = read_initialize_config(argv)
    if config.dry_run and config.interception is not None:
        sys.stdout.write(show(config.interception))
        return 0
    configure(sys.stderr, config.verbosity)
    carry_out(config, Log("rolecall.agent"))
    return 0


def carry_out(config: InitializeConfig, log: Log) -> None:
    """Make, or take away, what the settings say, in the network namespace of this thread; raises `Misconfigured`."""
    with open_netlink() as kernel:
        match config:
            case InitializeConfig(interception=None, remove=True):
                remove(kernel, log)
            case InitializeConfig(interception=None):
                initialize(config.hosts, kernel, log)
            case InitializeConfig(remove=True):
                uninstall(log)
            case InitializeConfig(interception=Interception() as wanted):
                _intercept(wanted, config, kernel, log)
                if config.canary:
                    from rolecall.daemons.agent.canary import send_canaries

                    send_canaries(wanted, kernel, log)


def _intercept(wanted: Interception, config: InitializeConfig, kernel: Netlink, log: Log) -> None:
    if config.check:
        check(wanted, log)
        return
    install(wanted, kernel, log)  # first: without the link, pods are refused
    if wanted.doors:
        initialize(config.hosts, kernel, log)


def read_initialize_config(argv: Sequence[str]) -> InitializeConfig:
    """Return the settings; raises `Misconfigured` for any that cannot work."""
    flags = _parser().parse_args(argv)
    if flags.remove and flags.bind_hosts:
        raise Misconfigured("--remove takes no --bind-hosts", hint="it removes the link with all of its addresses")
    hosts = tuple(dict.fromkeys(node_local_host(host) for host in flags.bind_hosts or LINK_LOCAL))
    interception, verbosity = read_interception(flags, hosts), verbosity_word(flags.verbosity)
    return InitializeConfig(hosts, flags.remove, verbosity, interception, flags.dry_run, flags.canary, flags.check)


def initialize(hosts: Sequence[str], kernel: Netlink, log: Log) -> None:
    """Make the link, its addresses and their routes where they are missing; raises `Misconfigured`.

    Loopback addresses need nothing. Where IPv4 is asked for as well, IPv6 that cannot be had is only reported.
    """
    wanted = sorted(host for host in hosts if host in LINK_LOCAL)  # 169… before fd00…
    if not wanted:
        log.info("initialize.not_needed", hosts=list(hosts))
        return
    link = _link(kernel, log)
    done: list[str] = []
    for host in wanted:
        try:
            _reach(host, link, kernel, log)
            done.append(host)
        except Misconfigured as fault:
            if not done:
                raise
            log.warning("initialize.no_ipv6", host=host, why=fault.message, hint=fault.hint)
    log.info("initialize.done", link=link.name, kind=link.kind, addresses=done)


def remove(kernel: Netlink, log: Log) -> None:
    """Delete the link with all that is on it, if it was made here; leave, and name, one that somebody else made."""
    link = kernel.link(LINK)
    if link is None:
        log.info("initialize.nothing_to_remove", link=LINK)
    elif link.alias != ALIAS:
        log.warning("initialize.not_ours", link=LINK, hint=f"another program made it: ip link delete {LINK}")
    else:
        kernel.delete_link(link)
        log.info("initialize.removed", link=LINK)


def _link(kernel: Netlink, log: Log) -> Link:
    """Return the link, set up; made and marked as ours if it was not there."""
    found = kernel.link(LINK)
    if found is None and _created(kernel):
        made = _there(kernel)
        kernel.set_up(made, alias=ALIAS)
        log.info("initialize.link_made", link=LINK, kind=made.kind)
        return made
    found = found or _there(kernel)
    if not found.up:
        kernel.set_up(found)
    log.info("initialize.link_found", link=LINK, kind=found.kind, ours=found.alias == ALIAS)
    return found


def _created(kernel: Netlink) -> bool:
    """Make the link, of the first kind that the kernel has; False where somebody else just made it."""
    for kind in KINDS:
        try:
            kernel.create_link(LINK, kind)
        except KernelRefused as fault:
            if fault.errno == errno.EEXIST:
                return False
            if fault.errno != errno.EOPNOTSUPP or kind == KINDS[-1]:
                raise
        else:
            return True
    raise AssertionError("there is a last kind")


def _there(kernel: Netlink) -> Link:
    link = kernel.link(LINK)
    if link is None:
        raise Misconfigured(f"the link {LINK} was deleted by another program just now", hint="run it again")
    return link


def _reach(host: str, link: Link, kernel: Netlink, log: Log) -> None:
    """Add the address and its route where they are missing."""
    interface, network = ip_interface(host), ip_network(host)
    if interface.ip not in {address.interface.ip for address in kernel.addresses(link.index, family_of(network))}:
        try:
            kernel.add_address(Address(link.index, interface))
        except KernelRefused as fault:
            if fault.errno != errno.EEXIST:
                raise
        log.info("initialize.address_added", link=link.name, address=str(interface))
    if not _is_routed(network, link, kernel):
        kernel.add_route(Route(network, link.index))
        log.info("initialize.route_added", link=link.name, destination=str(network))


def _is_routed(network: Network, link: Link, kernel: Netlink) -> bool:
    """Say whether the main table has the route; raises `Misconfigured` where it leads to somewhere else."""
    found = kernel.routes(network)
    for route in found:
        if route.link != link.index:
            raise Misconfigured(
                f"the route to {network} leads to link number {route.link}, not to {link.name} ({link.index})",
                hint=f"remove it and run this again: ip route delete {network}",
            )
    return bool(found)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rolecall agent initialize",
        allow_abbrev=False,
        usage="rolecall agent initialize [--intercept imds] [--remove] [OPTIONS]",
        description=f"Makes the link {LINK} with the agent's addresses and routes; with --intercept, rules that keep"
        " pods from the node's metadata service. Needs NET_ADMIN.",
        epilog="examples: rolecall agent initialize -b 169.254.170.23; rolecall agent initialize --intercept imds",
    )
    add = parser.add_argument
    add("command", choices=("initialize",), help="make what is missing, and end")
    add("--remove", action="store_true", help="delete what was made here: the link, or with --intercept the rules")
    add("-b", "--bind-hosts", metavar="HOST", action="append", help="address to make (both); may be repeated")
    add_flags(parser)
    add("-v", "--verbosity", metavar="WORD", default="info", help="panic, fatal, error, warn, info, debug or trace")
    return parser

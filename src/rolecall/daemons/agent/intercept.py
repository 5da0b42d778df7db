"""Interception: what pods send to the node's metadata service comes to the agent's door, or to nobody.

The rules are a table of the packet filter's that is ours alone, so it is put in place, replaced and taken away whole.
They stand without the agent: where nobody listens, a pod's connection is refused, and never goes on to the service.
Processes in the node's own network namespace are not covered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from rolecall.edges import nftables
from rolecall.edges.netlink import Netlink
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

TABLE = "rolecall"
SERVICE = {4: "169.254.169.254", 6: "fd00:ec2::254"}
"""The node's metadata service, by version of IP; port 80."""
_FAMILY = {4: "ip", 6: "ip6"}
_PATTERN = re.compile(r"!?[A-Za-z0-9_.:@-]{0,15}\+?")
_REFUSE = "counter reject with tcp reset"


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The interfaces that pods arrive by: those of `names`, or with `others` all but those. ``+`` at the end: any end.

    The node's own traffic arrives by ``lo``, which is never one of them.
    """

    names: tuple[str, ...] = ()
    others: bool = True

    @classmethod
    def parse(cls, patterns: Sequence[str]) -> Interfaces:
        """Return them out of patterns as kube2iam and kiam have them; raises `Misconfigured`."""
        for pattern in patterns:
            if not _PATTERN.fullmatch(pattern) or pattern.strip("!+") in {"", "lo"} or len(pattern.strip("!+")) > 15:
                raise Misconfigured(
                    f"--host-interface {pattern[:80]!r} names no interface that pods arrive by",
                    hint="write a name (cni0), the beginning of names (cali+), or all others than one (!eth0)",
                )
        others = [pattern.startswith("!") for pattern in patterns]
        if any(others) and not all(others):
            raise Misconfigured(
                "--host-interface names interfaces both with and without !", hint="use one kind of pattern"
            )
        return cls(tuple(dict.fromkeys(pattern.lstrip("!") for pattern in patterns)), all(others))

    def has(self, name: str) -> bool:
        """Say whether pods arrive by the interface of that name."""
        named = any(name.startswith(one[:-1]) if one.endswith("+") else name == one for one in self.names)
        return named != self.others and name != "lo"

    def rule(self) -> str:
        """Return the part of a rule that says so."""
        names = ("lo", *self.names) if self.others else self.names
        listed = ", ".join(f'"{name[:-1]}*"' if name.endswith("+") else f'"{name}"' for name in names)
        return f"iifname {'!= ' if self.others else ''}{{ {listed} }}"


EVERY = Interfaces()


@dataclass(frozen=True, slots=True)
class Interception:
    """What is made of connections to the metadata service: they go to `port` of a door, or with no doors to nobody."""

    interfaces: Interfaces
    doors: tuple[str, ...] = ()
    port: int = 0

    def table(self) -> str:
        """Return the body of the table."""
        chains = self._to_the_door() if self.doors else []
        chains += [_chain("door", "filter hook input priority -10", [*self._only_intercepted(), *self._refused()])]
        chains += [_chain("beyond", "filter hook forward priority -10", [*self._untracked(), *self._refused()])]
        return "\n".join(chains)

    def _to_the_door(self) -> list[str]:
        """Return the chains that bring pods to the door, if their address is behind the interface they arrive by."""
        lies, to_door = [], []
        for door in self.doors:
            version = ip_network(door).version
            sent = f"{_to_service(version)} {self.interfaces.rule()}"
            lies.append(f"{sent} fib saddr . iif oif missing counter drop")
            target = f"[{door}]:{self.port}" if version == 6 else f"{door}:{self.port}"
            to_door.append(f"{sent} counter dnat {_FAMILY[version]} to {target}")
        return [
            _chain("source", "filter hook prerouting priority raw", lies),
            # Before dstnat (-100): the first that translates a connection is the one.
            _chain("intercept", "nat hook prerouting priority -110", to_door),
        ]

    def _only_intercepted(self) -> list[str]:
        """Return rules for the door's own address: nobody comes in but by the interception."""
        rules = []
        for door in self.doors:
            version = ip_network(door).version
            here = f"{_FAMILY[version]} daddr {door} tcp dport {self.port}"
            rules += [f"{here} {self.interfaces.rule()} {_asked_for(version)} accept", f"{here} {_REFUSE}"]
        return rules

    def _refused(self) -> list[str]:
        """Return rules against connections that were meant for the service, wherever another program leads them."""
        who = self._refused_to()
        return [f"{who} meta l4proto tcp {_asked_for(version)} {_REFUSE}" for version in SERVICE]

    def _untracked(self) -> list[str]:
        """Return rules against packets to the service that were not redirected, since no connection is known of."""
        return [f"{_to_service(version)} {self._refused_to()} {_REFUSE}" for version in SERVICE]

    def _refused_to(self) -> str:
        """Return whom the service is refused: with a door everybody, so that a wrong pattern opens nothing."""
        return (EVERY if self.doors else self.interfaces).rule()


def show(interception: Interception) -> str:
    """Return the rules as a file that ``nft -f`` takes."""
    return nftables.script(TABLE, interception.table())


def install(interception: Interception, kernel: Netlink, log: Log) -> None:
    """Put the rules in place, of those that are there already nothing is left; raises `Misconfigured`."""
    _refuse_the_way_out(interception, kernel)
    nftables.replace_table(TABLE, interception.table())
    interfaces = interception.interfaces
    log.info(
        "intercept.installed",
        interfaces=[("!" if interfaces.others else "") + name for name in interfaces.names] or ["every"],
        pods="redirected" if interception.doors else "refused",
        doors=list(interception.doors),
        port=interception.port,
    )
    if not interfaces.others and not any(interfaces.has(link.name) for link in kernel.links()):
        hint = "right on a node without pods; else see `ip route get` with a pod's address"
        log.warning("intercept.no_such_interface_yet", interfaces=list(interfaces.names), hint=hint)
    log.warning(
        "intercept.host_network_not_covered",
        why="pods with hostNetwork, and the node's own processes, still reach the node's metadata service and its role",
    )


def check(interception: Interception, log: Log) -> None:
    """Look whether the rules are there, and change nothing; raises `Misconfigured` where they are not."""
    wanted = frozenset(re.findall(r"^\tchain (\S+) ", interception.table(), re.MULTILINE))
    missing = wanted - nftables.chains(TABLE)
    if missing:
        raise Misconfigured(
            f"the packet filter's table inet {TABLE} is not there, or lacks {', '.join(sorted(missing))}:"
            " pods may reach the node's metadata service, and its role",
            hint="run it again without --check; `nft flush ruleset`, as nftables.service does it, takes all away",
        )
    log.info("intercept.in_place", chains=sorted(wanted))


def uninstall(log: Log) -> None:
    """Take the rules away; raises `Misconfigured`."""
    nftables.remove_table(TABLE)
    log.warning("intercept.removed", why="pods reach the node's metadata service, and its role, again")


def _refuse_the_way_out(interception: Interception, kernel: Netlink) -> None:
    """Raise `Misconfigured` where the door would be open to what comes in by the node's own way out."""
    if not interception.doors:
        return
    out = {route.link for family in ("0.0.0.0/0", "::/0") for route in kernel.routes(ip_network(family))}
    for link in kernel.links():
        if link.index in out and interception.interfaces.has(link.name):
            raise Misconfigured(
                f"--host-interface says that pods arrive by {link.name}, which is the node's own way out",
                hint="name the pods' interfaces, as cali+, or all others than that one: "
                f"--host-interface '!{link.name}'",
            )


def _chain(name: str, kind: str, rules: Sequence[str]) -> str:
    lines = [f"type {kind}; policy accept;", *rules]
    return f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _to_service(version: int) -> str:
    return f"{_FAMILY[version]} daddr {SERVICE[version]} tcp dport 80"


def _asked_for(version: int) -> str:
    """Return the part of a rule for what was sent to the service, whatever was made of it; not for its answers."""
    return f"ct direction original ct original {_FAMILY[version]} daddr {SERVICE[version]} ct original proto-dst 80"

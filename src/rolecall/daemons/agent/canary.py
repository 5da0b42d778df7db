"""The canary: a connection to the metadata service as a pod makes it, before there is a pod that could.

It comes from a network namespace of its own, by an interface that the rules say pods arrive by, and must end where the
rules say that pods end: at the door, or nowhere. What is made for it is gone when it is over, also after a crash; but
for a route to it through a bridge, which the next one takes away.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

from rolecall.daemons.agent.intercept import SERVICE, Interception
from rolecall.edges.netlink import KernelRefused, Netlink, open_netlink
from rolecall.edges.network_namespace import ELSEWHERE, LANDED, REFUSED, SILENT, NetworkNamespace, new_network_namespace
from rolecall.edges.rtnetlink import Address, Link, Route, family_of
from rolecall.edges.sockets import bind_tcp
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

Ip = IPv4Address | IPv6Address

NAME, INSIDE = "rolecallcanary", "eth0"
# Beside the address of Pod Identity's door; nothing on the wire has them.
_OWN = {4: "169.254.170.25", 6: "fd00:ec2::25"}
_NODES = {4: "169.254.170.24", 6: "fd00:ec2::24"}
_PATIENCE = 3.0
_NO_IPV6 = {errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP}
_WHY = {
    ELSEWHERE: "it reached something that is not the door",
    REFUSED: "it was refused: does the node's firewall let pods come to the door?",
    SILENT: "nothing answered: a firewall, rp_filter or the network plugin drops what comes by that interface",
}


@dataclass(frozen=True, slots=True)
class Way:
    """A way in: the name of the cable's end at the node, and the bridge that this is put into, if any."""

    interface: str
    bridge: Link | None = None


def send_canaries(interception: Interception, kernel: Netlink, log: Log) -> None:
    """Send one by each pattern of the interfaces and version of IP; raises `Misconfigured` for one that went wrong."""
    for pattern, way in _ways(interception, kernel).items():
        if way is None:
            log.warning("intercept.no_canary", interface=pattern, why="it is not there yet, or is no bridge")
            continue
        with new_network_namespace() as pod, _open_doors(interception), _joined(pod, way, kernel) as gateways:
            if not gateways:
                log.warning("intercept.no_canary", interface=pattern, why="the node has no address at that bridge")
            for version, gateway in gateways.items():
                came = _sent(interception, version, gateway, pod)
                _judge(interception, version, way, came)
                log.info("intercept.canary", interface=way.interface, to=SERVICE[version], was=came)


def _ways(interception: Interception, kernel: Netlink) -> dict[str, Way | None]:
    """Return a way in for each pattern, None where there can be none now."""
    interfaces = interception.interfaces
    if interfaces.others:
        return {NAME: Way(NAME) if interfaces.has(NAME) else None}
    ways: dict[str, Way | None] = {}
    for name in interfaces.names:
        if name.endswith("+"):
            ways[name] = Way(f"{name[:-1]}{NAME}"[:15])
        else:
            link = kernel.link(name)
            ways[name] = Way(NAME, link) if link is not None and link.kind == "bridge" else None
    return ways


@contextmanager
def _open_doors(interception: Interception) -> Iterator[None]:
    """Listen at the doors at which the agent does not yet."""
    with ExitStack() as stack:
        for door in interception.doors:
            with suppress(Misconfigured):  # the agent does, or the address is not there: then nobody lands
                stack.enter_context(bind_tcp(door, interception.port))
        yield


@contextmanager
def _joined(pod: NetworkNamespace, way: Way, kernel: Netlink) -> Iterator[dict[int, Ip]]:
    """Lay the cable; yield the node's address on it by version of IP, where there is one."""
    kernel.create_pair(way.interface, INSIDE, pod.descriptor)
    with ExitStack() as stack:
        end = kernel.link(way.interface)
        assert end is not None
        stack.callback(kernel.delete_link, end)
        kernel.set_up(end, master=way.bridge.index if way.bridge else 0)
        found: dict[int, Ip] = {}
        for version in SERVICE:
            gateway = _gateway(version, way, end, kernel)
            if gateway is not None:
                found[version] = gateway
                _route_back(Route(ip_network(_OWN[version]), (way.bridge or end).index), kernel, stack)
        yield found


def _gateway(version: int, way: Way, end: Link, kernel: Netlink) -> Ip | None:
    """Return the node's address that the canary sends by: one of the bridge, or one that is given to the cable."""
    own = ip_interface(_NODES[version])
    if way.bridge is not None:
        held = [address.interface.ip for address in kernel.addresses(way.bridge.index, family_of(own))]
        return next((address for address in held if version == 4 or not address.is_link_local), None)
    try:
        kernel.add_address(Address(end.index, own))
    except KernelRefused as fault:
        if version == 6 and fault.errno in _NO_IPV6:
            return None
        raise
    return own.ip


def _route_back(route: Route, kernel: Netlink, stack: ExitStack) -> None:
    """Add the way back to the canary, until the stack is closed."""
    with suppress(KernelRefused):  # left behind in a crash
        kernel.delete_route(route)
    kernel.add_route(route)
    stack.callback(kernel.delete_route, route)


def _sent(interception: Interception, version: int, gateway: Ip, pod: NetworkNamespace) -> str:
    """Connect to the service from inside, and return what came of it."""
    pod.do(lambda: _set_up_inside(version, gateway))
    door = _door(interception, version)
    return pod.reach(SERVICE[version], 80, (door, interception.port) if door else None, _PATIENCE)


def _set_up_inside(version: int, gateway: Ip) -> None:
    with open_netlink() as inside:
        link = inside.link(INSIDE)
        assert link is not None
        inside.set_up(link)
        inside.add_address(Address(link.index, ip_interface(_OWN[version])))
        inside.add_route(Route(ip_network(SERVICE[version]), link.index, gateway=gateway))


def _door(interception: Interception, version: int) -> str | None:
    return next((door for door in interception.doors if ip_address(door).version == version), None)


def _judge(interception: Interception, version: int, way: Way, came: str) -> None:
    """Raise `Misconfigured` for a canary that did not end as pods shall."""
    door = _door(interception, version)
    # Many nodes have no way out by IPv6: then a pod has none to the service either, and the rules see nothing of it.
    if came in ({LANDED} if door else {REFUSED, SILENT} if version == 6 else {REFUSED}):
        return
    by = f"{way.interface}, a port of {way.bridge.name}" if way.bridge else way.interface
    raise Misconfigured(
        f"a canary to {SERVICE[version]} by {by} did not {'land at the door' if door else 'end here'}: {_WHY[came]}",
        hint="the rules are in place, and hold; `nft list table inet rolecall` shows what they counted",
    )

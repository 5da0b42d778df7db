"""The kernel's links, addresses and routes, asked for and changed over a netlink socket: no library, no ``ip`` command.

Looking needs no privilege. Changing needs NET_ADMIN in the network namespace that the process is in, nothing else.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rolecall.edges import rtnetlink as rt
from rolecall.edges.rtnetlink import Address, Link, Message, Network, Route
from rolecall.errors import Misconfigured

T = TypeVar("T")

_PATIENCE = 10.0
_LARGEST = 1 << 20
_ATTEMPTS = 5
# linux/netlink.h; the socket module has no names for them.
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11

_HINTS = {
    errno.EPERM: "it needs the capability NET_ADMIN in this network namespace: for an init container, hostNetwork and"
    " securityContext.capabilities.add: [NET_ADMIN]",
    errno.EACCES: "IPv6 is turned off here: leave its address out (-b 169.254.170.23), or set"
    " net.ipv6.conf.all.disable_ipv6 to 0",
    errno.EOPNOTSUPP: "this kernel does not have that, or its module could not be loaded",
    errno.EAFNOSUPPORT: "this kernel does not have that kind of address",
}


class KernelRefused(Misconfigured):
    """The kernel did not do what it was asked; `errno` says why."""

    def __init__(self, what: str, code: int, text: str) -> None:
        name = errno.errorcode.get(code, str(code))
        super().__init__(f"cannot {what}: {text} ({name})", hint=_HINTS.get(code, ""))
        self.errno = code


class Netlink:
    """A conversation with the kernel; methods raise `KernelRefused`, or `Misconfigured` where there is no answer."""

    def __init__(self, channel: socket.socket) -> None:
        self._socket, self._sequence = channel, 0

    def link(self, name: str) -> Link | None:
        """Return the link of that name, or None."""
        what = f"look for the link {name}"
        try:
            found = self._ask(rt.GET_LINK, Link(name).pack(), what)
        except KernelRefused as fault:
            if fault.errno != errno.ENODEV:
                raise
            return None
        links = _read(Link.unpack, [message.body for message in found if message.kind == rt.NEW_LINK], what)
        return links[0] if links else None

    def links(self) -> list[Link]:
        """Return all links."""
        return self._list(rt.GET_LINK, 0, Link.unpack, "links")

    def create_link(self, name: str, kind: str) -> None:
        """Make a link of that kind; ``EEXIST`` where the name is taken, ``EOPNOTSUPP`` where the kernel has none."""
        flags = rt.CREATE | rt.EXCLUSIVE
        self._ask(rt.NEW_LINK, Link(name, kind=kind).pack(), f"make the link {name} of kind {kind}", flags)

    def create_pair(self, name: str, peer: str, namespace: int) -> None:
        """Make a cable (veth): the end `name` here, its peer in the network namespace of that descriptor."""
        flags = rt.CREATE | rt.EXCLUSIVE
        self._ask(rt.NEW_LINK, rt.pack_pair(name, peer, namespace), f"make the link {name} of kind veth", flags)

    def set_up(self, link: Link, *, alias: str = "", master: int = 0) -> None:
        """Set a link up, and in the same step give it an alias, or a bridge by its index, where there is one."""
        body = Link(index=link.index, alias=alias, up=True, master=master).pack()
        self._ask(rt.NEW_LINK, body, f"set the link {link.name} up")

    def delete_link(self, link: Link) -> None:
        """Delete a link, and with it its addresses and routes."""
        self._ask(rt.DELETE_LINK, Link(index=link.index).pack(), f"delete the link {link.name}")

    def addresses(self, index: int, family: int) -> list[Address]:
        """Return a link's addresses of that family."""
        return [
            address
            for address in self._list(rt.GET_ADDRESS, family, Address.unpack, "addresses")
            if address.link == index
        ]

    def add_address(self, address: Address) -> None:
        """Add an address to its link; ``EEXIST`` where it has it, ``EACCES`` where IPv6 is turned off."""
        flags = rt.CREATE | rt.EXCLUSIVE
        self._ask(rt.NEW_ADDRESS, address.pack(), f"add the address {address.interface}", flags)

    def routes(self, destination: Network) -> list[Route]:
        """Return the main table's routes to exactly that network."""
        found = self._list(rt.GET_ROUTE, rt.family_of(destination), Route.unpack, "routes")
        return [route for route in found if (route.destination, route.table) == (destination, rt.MAIN_TABLE)]

    def add_route(self, route: Route) -> None:
        """Add a route."""
        flags = rt.CREATE | rt.EXCLUSIVE
        self._ask(rt.NEW_ROUTE, route.pack(), f"add the route to {route.destination}", flags)

    def delete_route(self, route: Route) -> None:
        """Delete a route."""
        self._ask(rt.DELETE_ROUTE, route.pack(), f"delete the route to {route.destination}")

    def _list(self, kind: int, family: int, read: Callable[[bytes], T], what: str) -> list[T]:
        """Return all there is of a kind and family, asked again where it changed while it was listed."""
        head, answer = bytes([family, *bytes(15)]), kind - 2  # RTM_NEW… is two below RTM_GET…
        for _ in range(_ATTEMPTS):
            found = self._ask(kind, head, f"list {what}", rt.DUMP)
            if any(message.flags & rt.INTERRUPTED for message in found):
                continue
            # A kernel that does not have the family answers with all others.
            bodies = [message.body for message in found if message.kind == answer and message.body[:1] == head[:1]]
            return _read(read, bodies, f"list {what}")
        raise Misconfigured(f"cannot list {what}: they change all the time", hint="run it again")

    def _ask(self, kind: int, body: bytes, what: str, flags: int = 0) -> list[Message]:
        self._sequence += 1
        asked = Message(kind, flags | rt.REQUEST | rt.ACKNOWLEDGE, self._sequence, body)
        try:
            self._socket.sendto(rt.pack(asked), (0, 0))
            return self._answers(what)
        except OSError as fault:
            raise Misconfigured(f"cannot {what}: {fault.strerror or fault}", hint="run it again") from None
        except ValueError as fault:
            raise _unreadable(what, fault) from None

    def _answers(self, what: str) -> list[Message]:
        """Return what the kernel answers to the last request, up to its acknowledgement or the end of the list."""
        found: list[Message] = []
        while True:
            data, _, flags, sender = self._socket.recvmsg(_LARGEST)
            if sender[0] != 0:  # any process may write to this socket
                continue
            if flags & socket.MSG_TRUNC:
                raise ValueError("it is too long")
            for message in rt.unpack(data):
                if message.sequence != self._sequence:
                    continue
                found.append(message)
                if message.kind in {rt.ERROR, rt.DONE}:
                    code, text = rt.refusal(message)
                    if code:
                        raise KernelRefused(what, code, text)
                    return found


def _read(read: Callable[[bytes], T], bodies: list[bytes], what: str) -> list[T]:
    try:
        return [read(body) for body in bodies]
    except ValueError as fault:
        raise _unreadable(what, fault) from None


def _unreadable(what: str, fault: ValueError) -> Misconfigured:
    return Misconfigured(f"cannot {what}: the kernel's answer cannot be read: {fault}", hint="this is a defect here")


@contextmanager
def open_netlink() -> Iterator[Netlink]:
    """Open a conversation with the kernel about this process's network namespace; raises `Misconfigured`."""
    try:
        channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    except OSError as fault:
        raise Misconfigured(
            f"cannot speak with the kernel about links: {fault.strerror}",
            hint="netlink sockets must be allowed here (a seccomp profile may forbid them)",
        ) from None
    with channel:
        channel.settimeout(_PATIENCE)
        for option in (_CAP_ACK, _EXT_ACK):
            channel.setsockopt(_SOL_NETLINK, option, 1)
        yield Netlink(channel)

"""Messages to and from the kernel about links, addresses and routes (RFC 3549; linux/rtnetlink.h), as bytes.

Nothing here opens a socket. Numbers are in the machine's own byte order, but for IP addresses; everything starts
at a multiple of four bytes. What cannot be read is a `ValueError`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

ERROR, DONE = 2, 3
NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, GET_ADDRESS = 20, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26

REQUEST, ACKNOWLEDGE, DUMP = 0x1, 0x4, 0x300
EXCLUSIVE, CREATE = 0x200, 0x400
INTERRUPTED = 0x10  # on an answer: what was listed changed meanwhile
CAPPED, HAS_TEXT = 0x100, 0x200  # on an error: without the request's body; with attributes behind it

MAIN_TABLE = 254
_BOOT, _UNICAST = 3, 1
_UP = 0x1
_NO_DUPLICATE_DETECTION = 0x2
_ON_LINK = 0x4
_HIGHEST = bytes.fromhex("feffffffffff")  # locally administered, of one machine

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NUMBER = struct.Struct("=I")
_ERRNO = struct.Struct("=i")
_ATTRIBUTE_NUMBER = 0x3FFF  # the two bits above are flags


@dataclass(frozen=True, slots=True)
class Message:
    """One message: what it is about, how it is meant, which request it belongs to, and its body."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def pack(message: Message) -> bytes:
    """Return a message as the kernel reads it."""
    length = _HEADER.size + len(message.body)
    return _padded(_HEADER.pack(length, message.kind, message.flags, message.sequence, 0) + message.body)


def unpack(data: bytes) -> Iterator[Message]:
    """Yield the messages of a datagram."""
    for (_, kind, flags, sequence, _), body in _chunks(data, _HEADER):
        yield Message(kind, flags, sequence, body)


def pack_attributes(attributes: Iterable[tuple[int, bytes]]) -> bytes:
    """Return attributes, each a number and a value, in this order."""
    return b"".join(
        _padded(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value) for number, value in attributes
    )


def unpack_attributes(data: bytes) -> dict[int, bytes]:
    """Return attributes by number; of several with one number, the last."""
    return {number & _ATTRIBUTE_NUMBER: value for (_, number), value in _chunks(data, _ATTRIBUTE)}


def _chunks(data: bytes, head: struct.Struct) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Yield head and body of what stands one behind the other, each beginning with its own length."""
    at = 0
    while at < len(data):
        if len(data) - at < head.size:
            raise ValueError(f"{len(data) - at} bytes are left, too few for a head")
        fields = head.unpack_from(data, at)
        if not head.size <= fields[0] <= len(data) - at:
            raise ValueError(f"a length of {fields[0]} where {len(data) - at} bytes are left")
        yield fields, data[at + head.size : at + fields[0]]
        at += (fields[0] + 3) & ~3


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface. `kind` is the kernel's word, such as ``dummy``; 0, empty and False leave things as they are.

    `alias` is a line of text that administrators see; nothing else reads it. `master` is the index of its bridge.
    """

    name: str = ""
    index: int = 0
    kind: str = ""
    alias: str = ""
    up: bool = False
    master: int = 0

    def pack(self) -> bytes:
        """Return the body of a message that makes, changes or names it."""
        attributes = [(3, self.name.encode() + b"\0")] if self.name else []
        attributes += [(18, pack_attributes([(1, self.kind.encode() + b"\0")]))] if self.kind else []
        attributes += [(20, self.alias.encode())] if self.alias else []
        attributes += [(10, _NUMBER.pack(self.master))] if self.master else []
        flags = _UP if self.up else 0
        return _LINK.pack(0, 0, self.index, flags, flags) + pack_attributes(attributes)

    @classmethod
    def unpack(cls, body: bytes) -> Link:
        """Return the link that a message tells of."""
        (_, _, index, flags, _), found = _body(body, _LINK)
        kind = unpack_attributes(found.get(18, b"")).get(1, b"")
        name, alias, master = _text(found.get(3, b"")), _text(found.get(20, b"")), _number(found.get(10), 0)
        return cls(name, index, _text(kind), alias, bool(flags & _UP), master)


def pack_pair(name: str, peer: str, namespace: int) -> bytes:
    """Return the body of a message that makes a cable (veth): one end here, its peer in the open namespace.

    A bridge takes the lowest hardware address of its ports for its own, so this end has the highest.
    """
    other = _LINK.pack(0, 0, 0, 0, 0) + pack_attributes([(3, peer.encode() + b"\0"), (28, _NUMBER.pack(namespace))])
    kind = [(1, b"veth\0"), (2, pack_attributes([(1, other)]))]
    here = [(1, _HIGHEST), (3, name.encode() + b"\0"), (18, pack_attributes(kind))]
    return _LINK.pack(0, 0, 0, 0, 0) + pack_attributes(here)


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address of a link, by the link's index, with its prefix."""

    link: int
    interface: Interface

    def pack(self) -> bytes:
        """Return the body of a message that adds it.

        Nobody on the wire is asked whether an IPv6 address is free: on a link without a carrier the kernel would
        wait for that for ever, and nothing could be bound meanwhile.
        """
        packed = self.interface.packed
        v6 = self.interface.version == 6
        family, flags = (socket.AF_INET6, _NO_DUPLICATE_DETECTION) if v6 else (socket.AF_INET, 0)
        head = _ADDRESS.pack(family, self.interface.network.prefixlen, flags, 0, self.link)
        return head + pack_attributes([(2, packed), (1, packed)])

    @classmethod
    def unpack(cls, body: bytes) -> Address:
        """Return the address that a message tells of: the link's own one, where there are two ends."""
        (family, prefix, _, _, link), found = _body(body, _ADDRESS)
        address = _ip(family, found.get(2, found.get(1, b"")))
        return cls(link, ip_interface((address, prefix)))


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a network: through the link with this index; 0 where it leads to none, or to several.

    It leads to `gateway`, a machine at that link whatever other routes say; with None to the destination itself.
    """

    destination: Network
    link: int
    table: int = MAIN_TABLE
    gateway: IPv4Address | IPv6Address | None = None

    def pack(self) -> bytes:
        """Return the body of a message that adds it: unicast, of universe scope, protocol boot."""
        if not 0 <= self.table <= 255:
            raise ValueError(f"table {self.table} has no room in a message")
        family = socket.AF_INET6 if self.destination.version == 6 else socket.AF_INET
        flags = 0 if self.gateway is None else _ON_LINK
        head = _ROUTE.pack(family, self.destination.prefixlen, 0, 0, self.table, _BOOT, 0, _UNICAST, flags)
        attributes = [(1, self.destination.network_address.packed), (4, _NUMBER.pack(self.link))]
        attributes += [(5, self.gateway.packed)] if self.gateway is not None else []
        return head + pack_attributes(attributes)

    @classmethod
    def unpack(cls, body: bytes) -> Route:
        """Return the route that a message tells of."""
        (family, prefix, _, _, table, *_), found = _body(body, _ROUTE)
        none = bytes(16 if family == socket.AF_INET6 else 4)
        network = ip_network((_ip(family, found.get(1, none)), prefix), strict=False)
        gateway = ip_address(_ip(family, found[5])) if 5 in found else None
        return cls(network, _number(found.get(4), 0), _number(found.get(15), table), gateway)


def refusal(message: Message) -> tuple[int, str]:
    """Return errno and the kernel's own words out of an acknowledgement: 0 where there was no error."""
    if len(message.body) < _ERRNO.size:
        raise ValueError("an acknowledgement without a number")
    (code,) = _ERRNO.unpack_from(message.body)
    text = ""
    if message.kind == ERROR and message.flags & HAS_TEXT and len(message.body) >= _ERRNO.size + _HEADER.size:
        (length, *_) = _HEADER.unpack_from(message.body, _ERRNO.size)
        start = _ERRNO.size + (_HEADER.size if message.flags & CAPPED else (length + 3) & ~3)
        text = _text(unpack_attributes(message.body[start:]).get(1, b""))
    return -code, text or (os.strerror(-code) if code else "")


def family_of(network: Interface | Network) -> int:
    """Return the number of the address family."""
    return int(socket.AF_INET6 if network.version == 6 else socket.AF_INET)


def _body(body: bytes, head: struct.Struct) -> tuple[tuple[int, ...], dict[int, bytes]]:
    if len(body) < head.size:
        raise ValueError(f"{len(body)} bytes are no message of this kind")
    return head.unpack_from(body), unpack_attributes(body[head.size :])


def _ip(family: int, packed: bytes) -> str:
    if len(packed) != {socket.AF_INET: 4, socket.AF_INET6: 16}.get(socket.AddressFamily(family), -1):
        raise ValueError(f"{len(packed)} bytes are no address of family {family}")
    return str(ip_address(packed))


def _number(packed: bytes | None, otherwise: int) -> int:
    if packed is None:
        return otherwise
    if len(packed) != _NUMBER.size:
        raise ValueError(f"{len(packed)} bytes are no number")
    return int(_NUMBER.unpack(packed)[0])


def _text(packed: bytes) -> str:
    return packed.partition(b"\0")[0].decode("utf-8", "replace")

"""Netlink messages as bytes: layouts from linux/netlink.h, linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.edges.rtnetlink import (
    ERROR,
    Address,
    Link,
    Message,
    Route,
    pack,
    pack_attributes,
    pack_pair,
    refusal,
    unpack,
    unpack_attributes,
)


def native(*fields: tuple[int, int]) -> bytes:
    """Return numbers, each as (value, size), in the machine's byte order."""
    return b"".join((value % (1 << 8 * size)).to_bytes(size, sys.byteorder) for value, size in fields)


def attribute(number: int, value: bytes) -> bytes:
    """Return one rtattr: u16 length with its head, u16 type, value, filled up to four bytes."""
    return native((4 + len(value), 2), (number, 2)) + value + bytes(-len(value) % 4)


def ifinfo(index: int, flags: int, change: int) -> bytes:
    """Return an ifinfomsg: u8 family, u8 padding, u16 type, i32 index, u32 flags, u32 change."""
    return native((0, 1), (0, 1), (0, 2), (index, 4), (flags, 4), (change, 4))


V4, V6 = bytes([169, 254, 170, 23]), bytes.fromhex("fd000ec2000000000000000000000023")

BODIES = {
    "make-link": (
        Link("pod-id-link0", kind="dummy"),
        ifinfo(0, 0, 0) + attribute(3, b"pod-id-link0\0") + attribute(18, attribute(1, b"dummy\0")),
    ),
    "mark-and-up": (Link(index=7, alias="a line", up=True), ifinfo(7, 1, 1) + attribute(20, b"a line")),
    "delete-link": (Link(index=7), ifinfo(7, 0, 0)),
    # ifaddrmsg: u8 family, prefix, flags, scope (0: universe), u32 index. IFA_LOCAL 2, IFA_ADDRESS 1.
    "v4-address": (
        Address(7, ip_interface("169.254.170.23")),
        native((2, 1), (32, 1), (0, 1), (0, 1), (7, 4)) + attribute(2, V4) + attribute(1, V4),
    ),
    # IFA_F_NODAD is 2.
    "v6-address": (
        Address(7, ip_interface("fd00:ec2::23")),
        native((10, 1), (128, 1), (2, 1), (0, 1), (7, 4)) + attribute(2, V6) + attribute(1, V6),
    ),
    # rtmsg: u8 family, dst_len, src_len, tos, table main 254, protocol boot 3, scope universe 0, unicast 1, u32 flags.
    "v4-route": (
        Route(ip_network("169.254.170.23"), 7),
        native((2, 1), (32, 1), (0, 1), (0, 1), (254, 1), (3, 1), (0, 1), (1, 1), (0, 4))
        + attribute(1, V4)
        + attribute(4, native((7, 4))),
    ),
    # RTA_GATEWAY 5; RTNH_F_ONLINK 4.
    "v4-route-by-a-gateway": (
        Route(ip_network("169.254.170.23"), 7, gateway=ip_address("10.2.0.1")),
        native((2, 1), (32, 1), (0, 1), (0, 1), (254, 1), (3, 1), (0, 1), (1, 1), (4, 4))
        + attribute(1, V4)
        + attribute(4, native((7, 4)))
        + attribute(5, bytes([10, 2, 0, 1])),
    ),
    # IFLA_MASTER 10.
    "into-a-bridge": (Link(index=7, up=True, master=3), ifinfo(7, 1, 1) + attribute(10, native((3, 4)))),
}


def test_a_cable_as_the_headers_lay_it_out() -> None:
    """IFLA_INFO_DATA 2 of veth holds VETH_INFO_PEER 1: an ifinfomsg with its attributes; IFLA_NET_NS_FD is 28."""
    peer = ifinfo(0, 0, 0) + attribute(3, b"eth0\0") + attribute(28, native((5, 4)))
    kind = attribute(1, b"veth\0") + attribute(2, attribute(1, peer))
    here = attribute(1, bytes([0xFE] + 5 * [0xFF])) + attribute(3, b"here\0")
    assert pack_pair("here", "eth0", 5) == ifinfo(0, 0, 0) + here + attribute(18, kind)


@pytest.mark.parametrize("case", BODIES)
def test_bodies_as_the_headers_lay_them_out(case: str) -> None:
    """Byte for byte; and what was written is read again."""
    value, body = BODIES[case]
    assert value.pack() == body
    assert type(value).unpack(body) == value


def test_a_message_as_rfc_3549_lays_it_out() -> None:
    """Length with its head, kind, flags, sequence, port; the next one starts at a multiple of four."""
    head = native((19, 4), (16, 2), (0x605, 2), (9, 4), (0, 4))
    one = Message(16, 0x605, 9, b"abc")
    assert pack(one) == head + b"abc\0"
    assert list(unpack(pack(one) + pack(one))) == [one, one]


@given(st.lists(st.builds(Message, *(st.integers(0, 0xFFFF),) * 2, st.integers(0, 2**32 - 1), st.binary(max_size=40))))
def test_messages_come_back(messages: list[Message]) -> None:
    """Any number of them in one datagram."""
    assert list(unpack(b"".join(map(pack, messages)))) == messages


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=300), max_size=8), st.sampled_from([0, 0x8000]))
def test_attributes_come_back(attributes: dict[int, bytes], nested: int) -> None:
    """The two bits above the number say how the value is made, not what it is."""
    packed = pack_attributes((number | nested, value) for number, value in attributes.items())
    assert len(packed) % 4 == 0
    assert unpack_attributes(packed) == attributes


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=15)
INDEXES = st.integers(0, 2**31 - 1)


ALIASES = st.text(st.characters(min_codepoint=1, codec="utf-8"), max_size=40)
LINKS = st.builds(Link, NAMES, INDEXES, NAMES, ALIASES, st.booleans(), INDEXES)
ADDRESSES = st.builds(Address, INDEXES, st.ip_addresses().map(ip_interface))
ROUTES = st.builds(Route, st.ip_addresses().map(ip_network), INDEXES, st.integers(0, 255))


@given(LINKS | ADDRESSES | ROUTES)
def test_links_addresses_and_routes_come_back(value: Link | Address | Route) -> None:
    """Whatever their names, numbers and families."""
    assert type(value).unpack(value.pack()) == value


@given(st.binary(max_size=120))
@pytest.mark.parametrize("read", [lambda data: list(unpack(data)), Link.unpack, Address.unpack, Route.unpack])
def test_any_bytes_are_read_or_a_value_error(read: Callable[[bytes], object], data: bytes) -> None:
    """Nothing else comes out, and no endless loop over a length of zero."""
    with contextlib.suppress(ValueError):
        read(data)


KERNELS = {
    # `ip -d link`, Linux 6: a bridge's INFO_DATA beside its kind; names end with a zero byte.
    "bridge": (
        Link.unpack,
        ifinfo(3, 0x11043, 0)
        + attribute(3, b"pod-id-link0\0")
        + attribute(18 | 0x8000, attribute(1, b"bridge\0") + attribute(2, bytes(8)))
        + attribute(20, b"rolecall agent\0"),
        Link("pod-id-link0", 3, "bridge", "rolecall agent", up=True),
    ),
    # Point to point: IFA_ADDRESS is the other end.
    "peer": (
        Address.unpack,
        native((2, 1), (32, 1), (0, 1), (0, 1), (4, 4)) + attribute(1, bytes([10, 0, 0, 2])) + attribute(2, V4),
        Address(4, ip_interface("169.254.170.23")),
    ),
    # The kernel gives IPv6 addresses as IFA_ADDRESS alone.
    "v6": (
        Address.unpack,
        native((10, 1), (64, 1), (0x80, 1), (0, 1), (4, 4)) + attribute(1, V6) + attribute(8, native((0x80, 4))),
        Address(4, ip_interface("fd00:ec2::23/64")),
    ),
    "default-route": (
        Route.unpack,
        native((2, 1), (0, 1), (0, 1), (0, 1), (254, 1), (3, 1), (0, 1), (1, 1), (0, 4)) + attribute(4, native((2, 4))),
        Route(ip_network("0.0.0.0/0"), 2),
    ),
    # RT_TABLE_COMPAT 252: the number is too large for its byte, and stands in RTA_TABLE.
    "large-table-and-no-link": (
        Route.unpack,
        native((10, 1), (0, 1), (0, 1), (0, 1), (252, 1), (3, 1), (0, 1), (6, 1), (0, 4))
        + attribute(15, native((1000, 4))),
        Route(ip_network("::/0"), 0, 1000),
    ),
}


@pytest.mark.parametrize("case", KERNELS)
def test_what_kernels_say(case: str) -> None:
    """More than was asked for, and otherwise than we would say it."""
    read, body, expected = KERNELS[case]
    assert read(body) == expected


TEXT = attribute(1, b"Unknown device type\0")


@pytest.mark.parametrize(
    ("flags", "body", "expected"),
    [
        (0x000, native((0, 4)) + bytes(16), (0, "")),
        (0x100, native((0, 4)), (0, "")),
        (0x100, native((-1, 4)) + bytes(16), (1, os.strerror(1))),
        (0x300, native((-95, 4)) + native((36, 4)) + bytes(12) + TEXT, (95, "Unknown device type")),
        # Not capped: the whole request stands between the number and the text.
        (0x200, native((-95, 4)) + native((18, 4)) + bytes(12) + b"ab\0\0" + TEXT, (95, "Unknown device type")),
        (0x300, native((-13, 4)) + native((36, 4)) + bytes(12) + attribute(2, bytes(4)), (13, os.strerror(13))),
    ],
    ids=["good", "end-of-list", "no-text", "capped", "whole", "other-attribute"],
)
def test_why_the_kernel_refuses(flags: int, body: bytes, expected: tuple[int, str]) -> None:
    """errno, and the kernel's own sentence where it has one (NLMSGERR_ATTR_MSG)."""
    assert refusal(Message(ERROR, flags, 1, body)) == expected

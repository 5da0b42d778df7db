"""The conversation with the kernel: whose answers are believed, and what its refusals tell the operator."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_interface, ip_network

import pytest

from rolecall.edges.netlink import KernelRefused, Netlink
from rolecall.edges.rtnetlink import Address, Link, Message, Route, pack, unpack
from rolecall.errors import Misconfigured

KERNEL, SOMEBODY = (0, 0), (4711, 0)
Datagram = tuple[bytes, int, tuple[int, int]]


class Channel:
    """A netlink socket: each request is answered by the next of the answers, which know its sequence number."""

    def __init__(self, *answers: Callable[[int], list[Datagram]]) -> None:
        self.asked: list[Message] = []
        self._answers = list(answers)
        self._coming: list[Datagram] = []

    def sendto(self, data: bytes, address: tuple[int, int]) -> None:
        assert address == KERNEL
        self.asked += unpack(data)
        self._coming += self._answers.pop(0)(self.asked[-1].sequence)

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        if not self._coming:
            raise TimeoutError("timed out")
        data, flags, sender = self._coming.pop(0)
        return data[:size], [], flags, sender


def netlink(channel: Channel) -> Netlink:
    """Return a conversation over it."""
    return Netlink(channel)


def said(*messages: tuple[int, bytes], flags: int = 0, sender: tuple[int, int] = KERNEL, late: int = 0):
    """Return an answer: these messages, each as (kind, body), in one datagram."""
    return lambda sequence: [
        (b"".join(pack(Message(kind, flags, sequence - late, body)) for kind, body in messages), 0, sender)
    ]


def number(code: int) -> bytes:
    """Return the body of an acknowledgement or of a list's end."""
    return code.to_bytes(4, sys.byteorder, signed=True)


NAMED = Link("pod-id-link0", 7, "bridge")
FOUND, GOOD = (16, NAMED.pack()), (2, number(0))


def both(*answers: Callable[[int], list[Datagram]]) -> Callable[[int], list[Datagram]]:
    """Return several answers as one."""
    return lambda sequence: [datagram for answer in answers for datagram in answer(sequence)]


def test_a_link_is_found_by_name() -> None:
    """One request, no list; the answer may come in two datagrams."""
    channel = Channel(both(said(FOUND), said(GOOD)))
    assert netlink(channel).link("pod-id-link0") == NAMED
    assert [(one.kind, one.flags) for one in channel.asked] == [(18, 0x5)]
    assert b"pod-id-link0\0" in channel.asked[0].body


def test_only_the_kernels_answer_to_this_request_counts() -> None:
    """Another process may write to the socket, and an answer to an earlier request may come late."""
    forged = said((16, Link("pod-id-link0", 666).pack()), GOOD, sender=SOMEBODY)
    late = said((2, number(-errno.EPERM)), late=1)
    assert netlink(Channel(both(forged, late, said(FOUND, GOOD)))).link("pod-id-link0") == NAMED


def test_a_link_that_is_not_there() -> None:
    """Is None; any other refusal is one."""
    assert netlink(Channel(said((2, number(-errno.ENODEV))))).link("x") is None
    with pytest.raises(KernelRefused, match="cannot look for the link x: Operation not permitted"):
        netlink(Channel(said((2, number(-errno.EPERM))))).link("x")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.EPERM, "NET_ADMIN"),
        (errno.EACCES, "IPv6 is turned off"),
        (errno.EOPNOTSUPP, "this kernel does not have that"),
        (errno.EAFNOSUPPORT, "this kernel does not have that"),
    ],
    ids=errno.errorcode.get,
)
def test_refusals_say_what_to_do(code: int, hint: str) -> None:
    """They name the attempt and the cause, and carry errno for whoever can do something else."""
    kernel = netlink(Channel(said((2, number(-code)))))
    with pytest.raises(KernelRefused) as refused:
        kernel.add_address(Address(7, ip_interface("fd00:ec2::23")))
    assert refused.value.errno == code
    assert refused.value.message.startswith("cannot add the address fd00:ec2::23/128: ")
    assert hint in refused.value.hint


def test_what_is_asked_for() -> None:
    """Kinds and flags of linux/netlink.h: nothing that is there is replaced (NLM_F_CREATE | NLM_F_EXCL)."""
    channel = Channel(*[said(GOOD)] * 5)
    kernel = netlink(channel)
    kernel.create_link("pod-id-link0", "dummy")
    kernel.set_up(NAMED, alias="a")
    kernel.delete_link(NAMED)
    kernel.add_address(Address(7, ip_interface("169.254.170.23")))
    kernel.add_route(Route(ip_network("169.254.170.23"), 7))
    asked = [(one.kind, one.flags) for one in channel.asked]
    assert asked == [(16, 0x605), (16, 0x5), (17, 0x5), (20, 0x605), (24, 0x605)]
    assert [one.sequence for one in channel.asked] == [1, 2, 3, 4, 5]


MINE, OTHERS = Address(7, ip_interface("169.254.170.23")), Address(8, ip_interface("10.0.0.1/24"))
END = (3, number(0))


def test_addresses_of_one_link_and_family() -> None:
    """Out of the list of all; a kernel without a family answers with all others, which may be any."""
    strange = (20, bytes([45]) + bytes(11))
    channel = Channel(both(said((20, MINE.pack()), strange, flags=2), said((20, OTHERS.pack()), END, flags=2)))
    assert netlink(channel).addresses(7, socket.AF_INET) == [MINE]
    assert [(one.kind, one.flags, one.body[0]) for one in channel.asked] == [(22, 0x305, 2)]


def test_routes_to_one_network_in_the_main_table() -> None:
    """Exactly to it, not to one that it is in."""
    network = ip_network("169.254.170.23")
    good = Route(network, 7)
    others = (Route(network, 7, table=100), Route(ip_network("169.254.0.0/16"), 3), Route(ip_network("0.0.0.0/0"), 2))
    channel = Channel(said(*((24, route.pack()) for route in (*others, good)), END, flags=2))
    assert netlink(channel).routes(network) == [good]


def test_a_list_that_changed_meanwhile_is_asked_for_again() -> None:
    """NLM_F_DUMP_INTR; but not for ever."""
    torn = said(END, flags=0x12)
    kernel = netlink(Channel(torn, torn, said((20, MINE.pack()), END, flags=2)))
    assert kernel.addresses(7, socket.AF_INET) == [MINE]
    with pytest.raises(Misconfigured, match="change all the time"):
        netlink(Channel(*[torn] * 5)).addresses(7, socket.AF_INET)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda _: [], "timed out"),
        (lambda _: [(b"\1\0", 0, KERNEL)], "cannot be read"),
        (lambda _: [(b"", socket.MSG_TRUNC, KERNEL)], "too long"),
        (said((16, b"short"), GOOD), "cannot be read"),
        (said((2, b"")), "cannot be read"),
    ],
    ids=["none", "no-message", "truncated", "no-link", "no-number"],
)
def test_no_answer_is_a_sentence(answer: Callable[[int], list[Datagram]], told: str) -> None:
    """Not a trace, and not an absent link."""
    with pytest.raises(Misconfigured, match=told):
        netlink(Channel(answer)).link("x")

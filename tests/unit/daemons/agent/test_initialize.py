"""What ``initialize`` makes, leaves and takes away (aws-pod-identity.md §1.9), on a kernel that is a few lists."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface, ip_network

import pytest

from rolecall.daemons.agent.initialize import initialize, read_initialize_config, remove
from rolecall.edges.netlink import KernelRefused
from rolecall.edges.rtnetlink import Address, Link, Network, Route, family_of
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

V4, V6 = "169.254.170.23", "fd00:ec2::23"
NAME = "pod-id-link0"
INTERFACES = [ip_interface("169.254.170.23/32"), ip_interface("fd00:ec2::23/128")]
NETWORKS = [ip_network("169.254.170.23/32"), ip_network("fd00:ec2::23/128")]


@dataclass
class FakeKernel:
    """Links, addresses and the main table, by Linux's rules; `kinds` and `has_ipv6` are what it can do."""

    kinds: tuple[str, ...] = ("dummy", "bridge")
    has_ipv6: bool = True
    links: list[Link] = field(default_factory=lambda: [Link("lo", 1, up=True), Link("eth0", 2, up=True)])
    held: list[Address] = field(default_factory=lambda: [Address(2, ip_interface("10.0.0.4/24"))])
    table: list[Route] = field(default_factory=lambda: [Route(ip_network("0.0.0.0/0"), 2)])
    before_create: Callable[[FakeKernel], None] = lambda _: None

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)

    def create_link(self, name: str, kind: str) -> None:
        self.before_create(self)
        if self.link(name) is not None:
            raise KernelRefused("make it", errno.EEXIST, "File exists")
        if kind not in self.kinds:
            raise KernelRefused("make it", errno.EOPNOTSUPP, "Unknown device type")
        self.links.append(Link(name, 1 + max(link.index for link in self.links), kind))

    def set_up(self, link: Link, *, alias: str = "") -> None:
        at = [one.index for one in self.links].index(link.index)
        self.links[at] = replace(self.links[at], up=True, alias=alias or self.links[at].alias)

    def delete_link(self, link: Link) -> None:
        self.links = [one for one in self.links if one.index != link.index]
        self.held = [one for one in self.held if one.link != link.index]
        self.table = [one for one in self.table if one.link != link.index]

    def addresses(self, index: int, family: int) -> list[Address]:
        return [one for one in self.held if one.link == index and family_of(one.interface) == family]

    def add_address(self, address: Address) -> None:
        if address.interface.version == 6 and not self.has_ipv6:
            raise KernelRefused("add it", errno.EACCES, "IPv6 is disabled on this device")
        assert address not in self.held
        self.held.append(address)
        if address.interface.version == 6:  # Linux adds the route of an IPv6 prefix by itself
            self.table.append(Route(address.interface.network, address.link))

    def routes(self, destination: Network) -> list[Route]:
        return [route for route in self.table if route.destination == destination]

    def add_route(self, route: Route) -> None:
        assert next(link for link in self.links if link.index == route.link).up, "ENETDOWN"
        assert route not in self.table
        self.table.append(route)

    def state(self) -> tuple[list[Link], list[Address], list[Route]]:
        """Return a copy of all of it."""
        return list(self.links), list(self.held), list(self.table)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """Return the log's events as they come."""
    found: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(Log, "event", lambda _, __, name, /, **fields: found.append((name, fields)))
    return found


def made(kernel: FakeKernel) -> tuple[Link, list[object], list[object]]:
    """Return the agent's link, its addresses and the destinations of its routes."""
    link = kernel.link(NAME)
    assert link is not None
    held = [one.interface for one in kernel.held if one.link == link.index]
    return link, held, [route.destination for route in kernel.table if route.link == link.index]


@pytest.mark.parametrize("kinds", [("dummy", "bridge"), ("bridge",), ("dummy",)], ids=" ".join)
def test_it_makes_link_addresses_and_routes_once(kinds: tuple[str, ...], events: list[object]) -> None:
    """A dummy where the kernel has it, else a bridge; the second time changes nothing; --remove takes all of it."""
    kernel = FakeKernel(kinds)
    before = kernel.state()
    initialize((V6, V4), kernel, Log())
    assert made(kernel) == (Link(NAME, 3, kinds[0], "rolecall agent", up=True), INTERFACES, NETWORKS)
    once = kernel.state()
    initialize((V4, V6), kernel, Log())
    assert kernel.state() == once
    remove(kernel, Log())
    assert kernel.state() == before
    remove(kernel, Log())
    assert kernel.state() == before
    assert [name for name, _ in events] == [
        *("initialize.link_made", "initialize.address_added", "initialize.route_added", "initialize.address_added"),
        *("initialize.done", "initialize.link_found", "initialize.done"),
        *("initialize.removed", "initialize.nothing_to_remove"),
    ]


def test_a_kernel_without_either_kind_says_so() -> None:
    """And nothing is left behind."""
    kernel = FakeKernel(kinds=())
    before = kernel.state()
    with pytest.raises(KernelRefused, match="Unknown device type"):
        initialize((V4, V6), kernel, Log())
    assert kernel.state() == before


def test_without_ipv6_there_is_ipv4(events: list[tuple[str, dict[str, object]]]) -> None:
    """And the log says what is missing and why."""
    kernel = FakeKernel(has_ipv6=False)
    initialize((V4, V6), kernel, Log())
    assert made(kernel)[1:] == (INTERFACES[:1], NETWORKS[:1])
    (warned,) = [fields for name, fields in events if name == "initialize.no_ipv6"]
    assert warned["host"] == V6
    assert "IPv6 is disabled" in str(warned["why"])
    assert events[-1] == ("initialize.done", {"link": NAME, "kind": "dummy", "addresses": [V4]})


def test_ipv6_that_alone_was_asked_for_must_work() -> None:
    """Nobody is told that all is well where nothing is."""
    with pytest.raises(KernelRefused, match="IPv6 is disabled"):
        initialize((V6,), FakeKernel(has_ipv6=False), Log())


def test_ipv4_alone(events: list[object]) -> None:
    """``-b 169.254.170.23`` is AWS's switch against IPv6."""
    kernel = FakeKernel()
    initialize((V4,), kernel, Log())
    assert made(kernel)[1:] == (INTERFACES[:1], NETWORKS[:1])


def test_loopback_needs_no_link() -> None:
    """The flags of a laptop's agent may be given as they are."""
    kernel = FakeKernel()
    before = kernel.state()
    initialize(("127.0.0.1", "::1"), kernel, Log())
    assert kernel.state() == before


def awss_link(kernel: FakeKernel, *, up: bool = True) -> None:
    """Make what AWS's agent leaves on a node without IPv6."""
    kernel.links.append(Link(NAME, 9, "dummy", up=up))
    kernel.held.append(Address(9, INTERFACES[0]))
    kernel.table.append(Route(NETWORKS[0], 9))


def test_a_link_of_awss_agent_is_used_and_left(events: list[tuple[str, dict[str, object]]]) -> None:
    """What it lacks is added; it gets no mark, and --remove names it instead of deleting it."""
    kernel = FakeKernel()
    awss_link(kernel, up=False)
    initialize((V4, V6), kernel, Log())
    assert made(kernel) == (Link(NAME, 9, "dummy", up=True), INTERFACES, NETWORKS)
    before = kernel.state()
    remove(kernel, Log())
    assert kernel.state() == before
    assert events[-1][0] == "initialize.not_ours"
    assert f"ip link delete {NAME}" in str(events[-1][1]["hint"])


def test_two_at_once() -> None:
    """The one that comes second finds what the other has just made."""
    kernel = FakeKernel()
    kernel.before_create = lambda kernel: None if kernel.link(NAME) else awss_link(kernel)
    initialize((V4,), kernel, Log())
    assert made(kernel) == (Link(NAME, 9, "dummy", up=True), INTERFACES[:1], NETWORKS[:1])


def test_another_address_in_the_same_network_is_not_ours() -> None:
    """The address itself must be there; AWS's agent is content with a network that contains it."""
    kernel = FakeKernel()
    awss_link(kernel)
    kernel.held[-1] = Address(9, ip_interface("169.254.170.99/24"))
    initialize((V4,), kernel, Log())
    assert INTERFACES[0] in made(kernel)[1]


@pytest.mark.parametrize("elsewhere", [2, 0])
def test_a_route_to_somewhere_else_is_the_operators(elsewhere: int) -> None:
    """As with AWS's agent: it is not replaced, and the error says how to be rid of it."""
    kernel = FakeKernel()
    kernel.table.append(Route(NETWORKS[0], elsewhere))
    with pytest.raises(Misconfigured, match=f"leads to link number {elsewhere}, not to {NAME}") as refused:
        initialize((V4, V6), kernel, Log())
    assert "ip route delete 169.254.170.23/32" in refused.value.hint
    assert kernel.table[-1] == Route(NETWORKS[0], elsewhere)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--remove", "-b", V4], "--remove takes no --bind-hosts"),
        (["-b", "10.0.0.1"], 'non-node-local host "10.0.0.1"'),
        (["-v", "loud"], "Invalid logging verbosity: loud"),
        (["-c", "demo"], "unrecognized arguments: -c demo"),
        (["serve"], "unrecognized arguments: serve"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused(flags: list[str], told: str) -> None:
    """Before anything is touched, in a sentence with a next step."""
    with pytest.raises(Misconfigured) as refused:
        read_initialize_config(["initialize", *flags])
    assert told in refused.value.message
    assert refused.value.hint


def test_settings() -> None:
    """Both addresses where none is named; each once."""
    found = read_initialize_config(["-v", "error", "initialize"])
    assert (found.hosts, found.remove, found.verbosity) == ((V4, V6), False, "error")
    assert read_initialize_config(["initialize", "-b", V4, "--bind-hosts=[fd00:ec2::23]", "-b", V4]).hosts == (V4, V6)
    assert read_initialize_config(["initialize", "--remove"]).remove

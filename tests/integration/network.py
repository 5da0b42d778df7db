"""A node, its pods and what is outside of it: network namespaces, joined as CNI plugins join them.

    outside --- eth0  node  calia --- pod              a veth with the pod's route (Calico, AWS's VPC CNI, ptp)
    fake IMDS         node  cni0  --- bridged          a veth at a bridge (flannel, kubenet, Docker)
                      node  cali0 --- router --- far   a pod that is one hop away

The node forwards and filters nothing. Each namespace has a thread that lives in it, so that a socket inside costs
no process.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

PREFIX = "rolecall-cni-"
SERVICE, SERVICE6 = "169.254.169.254", "fd00:ec2::254"
HAS_IPV6 = Path("/proc/net/if_inet6").exists()
POD, POD6, BRIDGED, BRIDGED6 = "10.1.0.2", "fd01::2", "10.2.0.2", "fd02::2"

# What ip does in each, {} being the beginning of the names; lines that hold an IPv6 address need IPv6.
WIRES = """
link add eth0 type veth peer name eth0 netns {}outside
link add calia type veth peer name eth0 netns {}pod
link add cni0 type bridge
link add vethb type veth peer name eth0 netns {}bridged
link set vethb master cni0
link add cali0 type veth peer name eth0 netns {}router
"""
PLACES = {
    "outside": """
        addr add 169.254.169.254/32 dev lo
        addr add fd00:ec2::254/128 dev lo nodad
        addr add 10.99.0.1/24 dev eth0
        addr add fd99::1/64 dev eth0 nodad
        link set eth0 up
        route add 10.0.0.0/8 via 10.99.0.2
        route add fd00::/13 via fd99::2
        route add 169.254.170.23 via 10.99.0.2
        route add fd00:ec2::23 via fd99::2""",
    "node": """
        addr add 10.99.0.2/24 dev eth0
        addr add fd99::2/64 dev eth0 nodad
        addr add 10.1.0.1/32 dev calia
        addr add fd01::1/128 dev calia nodad
        addr add 10.2.0.1/24 dev cni0
        addr add fd02::1/64 dev cni0 nodad
        addr add 10.3.0.1/24 dev cali0
        addr add fd03::1/64 dev cali0 nodad
        link set eth0 up
        link set calia up
        link set vethb up
        link set cni0 up
        link set cali0 up
        route add default via 10.99.0.1
        route add default via fd99::1
        route add 10.1.0.2 dev calia
        route add fd01::2 dev calia
        route add 10.4.0.0/24 via 10.3.0.2
        route add fd04::/64 via fd03::2""",
    "pod": """
        addr add 10.1.0.2/32 dev eth0
        addr add fd01::2/128 dev eth0 nodad
        link set eth0 up
        route add 10.1.0.1 dev eth0
        route add fd01::1 dev eth0
        route add default via 10.1.0.1
        route add default via fd01::1""",
    "bridged": """
        addr add 10.2.0.2/24 dev eth0
        addr add fd02::2/64 dev eth0 nodad
        link set eth0 up
        route add default via 10.2.0.1
        route add default via fd02::1""",
    "router": """
        link add calif type veth peer name eth0 netns {}far
        addr add 10.3.0.2/24 dev eth0
        addr add fd03::2/64 dev eth0 nodad
        addr add 10.4.0.1/24 dev calif
        addr add fd04::1/64 dev calif nodad
        link set eth0 up
        link set calif up
        route add default via 10.3.0.1
        route add default via fd03::1""",
    "far": """
        addr add 10.4.0.2/24 dev eth0
        addr add fd04::2/64 dev eth0 nodad
        link set eth0 up
        route add default via 10.4.0.1
        route add default via fd04::1""",
}
PLUGINS = Path("/usr/lib/cni")
"""The reference plugins of CNI, as Debian has them (containernetworking-plugins)."""
FORWARDS = ("node", "outside", "router")
_CLONE_NEWNET = 0x40000000


class Place:
    """A network namespace, and a thread in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread = ThreadPoolExecutor(1, name)
        self.do(lambda: _enter(Path("/run/netns", name)))

    def do(self, work: Callable[[], T]) -> T:
        """Return what `work` returns when it is done inside; a socket that it makes stays inside."""
        return self._thread.submit(work).result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def command(self, *words: str) -> list[str]:
        """Return the command that runs words inside."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run words inside."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False)

    def ip(self, script: str) -> None:
        """Have ip do the lines of a script inside."""
        lines = [line for line in script.splitlines() if HAS_IPV6 or "::" not in line]
        command = ["ip", "-n", self.name, "-batch", "-"]
        done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def ask(
        self, host: str, port: int = 80, *, head: str = "GET / HTTP/1.1", source: str = "", patience: float = 10.0
    ) -> str:
        """Return what a server says to a request of this place, head and all, or the name of the error."""
        return self.do(lambda: ask((host, port), head, source, patience))


@dataclass(frozen=True)
class Network:
    """The places by name."""

    places: dict[str, Place]

    def __getattr__(self, name: str) -> Place:
        return self.places[name]

    @contextmanager
    def plugged(self, plugin: str, subnets: tuple[str, str], home: Path, **more: object) -> Iterator[Place]:
        """Add a pod by one of CNI's reference plugins, and take it away by it."""
        name = f"{self.node.name.removesuffix('node')}{plugin}"
        ranges = [[{"subnet": subnet}] for subnet in subnets[: 1 + HAS_IPV6]]
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}][: 1 + HAS_IPV6]
        ipam = {"type": "host-local", "dataDir": str(home), "ranges": ranges, "routes": routes}
        config = {"cniVersion": "0.4.0", "name": plugin, "type": plugin, "ipMasq": True, "ipam": ipam} | more
        asked = {"CNI_CONTAINERID": "pod", "CNI_IFNAME": "eth0", "CNI_NETNS": f"/run/netns/{name}"}
        asked |= {"CNI_PATH": str(PLUGINS), "PATH": os.environ["PATH"]}
        subprocess.run(["ip", "netns", "add", name], check=True)
        for command in ("ADD", "DEL"):
            words = self.node.command(str(PLUGINS / plugin))
            done = subprocess.run(
                words, input=json.dumps(config), env=asked | {"CNI_COMMAND": command}, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout
            if command == "ADD":
                pod = Place(name)
                try:
                    yield pod
                finally:
                    pod.close()

    @contextmanager
    def says(self, words: str, place: str, *addresses: tuple[str, int], hop_limit: int = 0) -> Iterator[None]:
        """Have servers at addresses of a place say words and who asks."""
        with ExitStack() as stack:
            for address in addresses:
                listener = stack.enter_context(self.places[place].do(lambda at=address: listen(*at)))
                stack.callback(listener.shutdown, socket.SHUT_RDWR)
                threading.Thread(target=answer, args=(listener, words, hop_limit), daemon=True).start()
            yield


def _enter(namespace: Path) -> None:
    """Have the calling thread live in that namespace."""
    with namespace.open() as opened:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(opened.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket where the calling thread is."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def answer(listener: socket.socket, words: str, hop_limit: int) -> None:
    """Say words and who asks to each connection, until the listener is shut down; 0: as far as packets go."""
    with suppress(OSError):
        while True:
            accepted, (peer, *_) = listener.accept()
            with accepted, suppress(OSError):
                accepted.recv(4096)
                if hop_limit:
                    accepted.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
                accepted.sendall(f"{words} {peer}".encode())


def ask(address: tuple[str, int], head: str = "GET / HTTP/1.1", source: str = "", patience: float = 10.0) -> str:
    """Return what a server says to a request of the place where the calling thread is, or the name of the error."""
    request = f"{head}\r\nHost: {SERVICE}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(address, patience, (source, 0) if source else None) as channel:
            channel.sendall(request.encode())
            return b"".join(iter(lambda: channel.recv(4096), b"")).decode()
    except OSError as fault:
        return type(fault).__name__


@contextmanager
def new_network() -> Iterator[Network]:
    """Make one, with a fake IMDS outside, and remove it whatever happens; skip where that cannot be."""
    for tool, package in (("ip", "iproute2"), ("nft", "nftables"), ("setpriv", "util-linux")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} of {package}")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    _remove_leftovers()
    begin = f"{PREFIX}{os.getpid()}-"
    try:
        places = _places(begin)
        if not places:
            pytest.skip("needs network namespaces that forward, with nf_tables in the kernel")
        network = Network(places)
        services = [(SERVICE, 80), (SERVICE6, 80)][: 1 + HAS_IPV6]
        with network.says("the node's role for", "outside", *services):
            yield network
        for place in places.values():
            place.close()
    finally:
        _remove(begin)


def _places(begin: str) -> dict[str, Place]:
    for name in PLACES:
        subprocess.run(["ip", "netns", "add", begin + name], capture_output=True, check=False)
    if not all(Path("/run/netns", begin + name).exists() for name in PLACES):
        return {}
    places = {name: Place(begin + name) for name in PLACES}
    places["node"].ip(WIRES.replace("{}", begin))
    for name, script in PLACES.items():
        places[name].ip("link set lo up\n" + script.replace("{}", begin))
    switches = ["net/ipv4/ip_forward", *["net/ipv6/conf/all/forwarding"] * HAS_IPV6]
    try:
        for name in FORWARDS:
            for switch in switches:
                places[name].do(lambda at=switch: Path("/proc/sys", at).write_text("1"))
    except OSError:
        return {}
    return places if places["node"].run("nft", "list", "ruleset").returncode == 0 else {}


def _remove_leftovers() -> None:
    """Remove the namespaces of test runs that are no more, as after a crash."""
    for left in Path("/run/netns").glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            _remove(f"{PREFIX}{pid}-")


def _remove(begin: str) -> None:
    for left in Path("/run/netns").glob(f"{begin}*"):
        subprocess.run(["ip", "netns", "del", left.name], capture_output=True, check=False)

"""A node of one machine: a network namespace in which the link-local addresses of Pod Identity exist."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PREFIX = "rolecall-test-"
V4, V6 = "169.254.170.23", "fd00:ec2::23"
IMDS = "169.254.169.254"
NODE_SIDE, POD_SIDE = "10.244.0.1", "10.244.0.2"
FILES = Path("/etc/netns")


@dataclass(frozen=True)
class Namespace:
    """One that exists. `files` is mounted over /etc for whatever runs inside by `inside`."""

    name: str
    has_ipv6: bool

    @property
    def files(self) -> Path:
        """The directory of the files that programs inside see in /etc."""
        return FILES / self.name

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs a command inside; it keeps the process id."""
        return ["ip", "netns", "exec", self.name, *command]


@contextlib.contextmanager
def new_namespace() -> Iterator[Namespace]:
    """Make one, with both addresses on its loopback, and remove it whatever happens; skip where one cannot be made."""
    skip_without_namespaces()
    remove_leftovers()
    name = f"{PREFIX}{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{V4}/32", "dev", "lo")
        has_ipv6 = Path("/proc/net/if_inet6").exists()
        if has_ipv6:
            _ip("-n", name, "addr", "add", f"{V6}/128", "dev", "lo", "nodad")
        (FILES / name).mkdir(parents=True)
        yield Namespace(name, has_ipv6)
    finally:
        _remove(name)


@contextlib.contextmanager
def new_pod(node: Namespace) -> Iterator[Namespace]:
    """Make a pod of a node: a namespace of its own, whose way out is the node, where EC2's metadata service is."""
    name, outside, inside = f"{node.name}-pod", f"rc{os.getpid()}", "eth0"
    try:
        _ip("netns", "add", name)
        _ip("-n", node.name, "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        _ip("-n", node.name, "addr", "add", f"{NODE_SIDE}/32", "peer", POD_SIDE, "dev", outside)
        _ip("-n", node.name, "addr", "add", f"{IMDS}/32", "dev", "lo")
        _ip("-n", node.name, "link", "set", outside, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{POD_SIDE}/32", "peer", NODE_SIDE, "dev", inside)
        _ip("-n", name, "link", "set", inside, "up")
        _ip("-n", name, "route", "add", "default", "via", NODE_SIDE)
        (FILES / name).mkdir(parents=True)
        yield Namespace(name, has_ipv6=False)
        _ip("-n", node.name, "addr", "del", f"{IMDS}/32", "dev", "lo")
    finally:
        _remove(name)


def skip_without_namespaces() -> None:
    """Skip, saying why, where no namespace can be made."""
    if shutil.which("ip") is None:
        pytest.skip("needs the ip command of iproute2")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace")


def remove_leftovers() -> None:
    """Remove the namespaces of test runs that are no more, as after a crash, and what runs in them."""
    for left in _names():
        if not Path(f"/proc/{_owner(left)}").exists():
            _remove(left)


def _names() -> list[str]:
    listed = [line.split()[0] for line in _ip("netns", "list").splitlines() if line.strip()]
    return [name for name in listed if name.startswith(PREFIX) and _owner(name).isdecimal()]


def _owner(name: str) -> str:
    """Return the process that made a namespace of ours."""
    return name.removeprefix(PREFIX).partition("-")[0]


def _remove(name: str) -> None:
    """Remove a namespace of ours, what still runs in it, and its files."""
    if name in _names():
        for pid in _ip("netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "del", name)
    shutil.rmtree(FILES / name, ignore_errors=True)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout

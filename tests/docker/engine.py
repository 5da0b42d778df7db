"""A Docker engine of the tests' own: its socket, its data, its network, its processes and its mounts are nobody else's.

dockerd, containerd and all containers are in one process namespace, which ends with the test run, also one that is
killed, and everything with it. The machine's network is not touched: the bridge is in a namespace, and the engine
writes no rules. There is one image, of busybox alone: containers see the machine's programs where they are mounted.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.binaries import dying_with_us
from docker.inside import inside
from integration.dev_plane import wait_until
from sdks.namespace import PREFIX, Namespace

IMAGE = "box"
BRIDGE, SUBNET = "172.31.250.1", "172.31.250.1/24"
NEEDED = ("dockerd", "containerd", "runc", "busybox", "unshare", "ip")
# dash waits for whoever has lost its parent, as the first process of its namespace has to.
_FIRST = 'dockerd "$@" & engine=$!; while kill -0 $engine 2>/dev/null; do wait; done'
_CGROUPS = Path("/sys/fs/cgroup")
_SUFFIX = "-docker"


class Refused(Exception):
    """The engine answered with an error."""


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def lacking() -> str:
    """Return why no engine can be started here; nothing where one can."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        return f"a Docker engine needs {', '.join(missing)} (Debian: docker.io, busybox-static)"
    return "" if os.geteuid() == 0 else "a Docker engine needs root"


class Engine:
    """A running engine, spoken to by its API (v1.41)."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        self.socket = directory / "docker.sock"
        self._cgroup = f"{namespace.name}{_SUFFIX}"
        self._connection = _OverSocket(self.socket)
        self._process: subprocess.Popen[bytes] | None = None
        self._root = Path("/")
        self.network = Path("/run/netns") / namespace.name

    def start(self) -> Engine:
        """Start it, wait until it answers, and give it the image."""
        _remove_leftovers()
        flags = {
            "data-root": self.directory / "data",
            "exec-root": self.directory / "exec",
            "pidfile": self.directory / "docker.pid",
            "host": f"unix://{self.socket}",
            "bip": SUBNET,
            "storage-driver": "vfs",
            "cgroup-parent": f"/{self._cgroup}",
            "exec-opt": "native.cgroupdriver=cgroupfs",
        }
        off = ("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--icc=true")
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", "-c", _FIRST, "sh"]
        command += [f"--{name}={value}" for name, value in flags.items()] + list(off)
        # Not by `ip netns exec`: it hides the machine's cgroups behind a /sys of its own.
        with (self.directory / "log").open("wb") as log, inside(self.network):
            self._process = subprocess.Popen(dying_with_us(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"dockerd to answer; its log is {self.directory / 'log'}")
        self._root = Path(f"/proc/{self._first()}/root")
        self._send("POST", f"/images/create?fromSrc=-&repo={IMAGE}", _image(), "application/x-tar")
        return self

    def stop(self) -> None:
        """End it and all that it runs, at once."""
        self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for directory in _groups(self._cgroup):
            wait_until(lambda one=directory: _removed(one), f"the processes of {directory} to end")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return what the engine answers; raises `Refused`."""
        said = self._send(method, path, b"" if body is None else json.dumps(body).encode(), "application/json")
        return json.loads(said) if said else None

    def _send(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        self._connection.request(method, f"/v1.41{path}", body, {"Content-Type": kind})
        with self._connection.getresponse() as answer:
            said = answer.read()
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {said.decode()}")
        return said

    def run(
        self,
        name: str,
        *command: str,
        env: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        mounts: tuple[str, ...] = (),
        network: str = "bridge",
    ) -> str:
        """Start a container, as `create` makes it; return its id."""
        number = self.create(name, *command, env=env, labels=labels, mounts=mounts, network=network)
        self.call("POST", f"/containers/{number}/start")
        return number

    def create(
        self,
        name: str,
        *command: str,
        env: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        mounts: tuple[str, ...] = (),
        network: str = "bridge",
    ) -> str:
        """Create a container of this command, busybox's ``sleep`` where there is none; return its id."""
        asked = {
            "Image": IMAGE,
            "Cmd": command or ["/bin/busybox", "sleep", "3600"],
            "Env": [f"{key}={value}" for key, value in (env or {}).items()],
            "Labels": labels or {},
            "HostConfig": {"Binds": [f"{path}:{path}:ro" for path in mounts], "NetworkMode": network},
        }
        number: str = self.call("POST", f"/containers/create?name={name}", asked)["Id"]
        return number

    def remove(self, name: str) -> None:
        """Kill a container and remove it."""
        self.call("DELETE", f"/containers/{name}?force=1")

    def address(self, name: str) -> str:
        """Return the container's address on the bridge, empty where it has none."""
        found: str = self.call("GET", f"/containers/{name}/json")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        return found

    def network_of(self, name: str) -> Path:
        """Return the file of the container's network namespace."""
        key = self.call("GET", f"/containers/{name}/json")["NetworkSettings"]["SandboxKey"]
        return self._root / key.lstrip("/")

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Have the engine do nothing at all; its containers go on."""
        (number,) = [one for one in self.processes() if Path(f"/proc/{one}/comm").read_text() == "dockerd\n"]
        os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(number, signal.SIGCONT)

    def output(self, name: str) -> str:
        """Return what the container has printed so far, to either stream."""
        said, text = self._send("GET", f"/containers/{name}/logs?stdout=1&stderr=1", b"", ""), b""
        while said:  # each piece after eight bytes: the stream, three zeros, the length
            length = int.from_bytes(said[4:8], "big")
            text, said = text + said[8 : 8 + length], said[8 + length :]
        return text.decode()

    def processes(self) -> list[int]:
        """Return the processes of the engine and its containers, as the machine numbers them."""
        first = Path(f"/proc/{self._first()}/ns/pid").readlink()
        found = []
        for one in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                found += [int(one.name)] if (one / "ns" / "pid_for_children").readlink() == first else []
        return found

    def log(self, lines: int = 40) -> str:
        """Return the end of what it has logged."""
        return "\n".join((self.directory / "log").read_text("utf-8", "replace").splitlines()[-lines:])

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            return self._send("GET", "/_ping", b"", "") == b"OK"
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False

    def _first(self) -> int:
        """Return the process that is the first of the engine's process namespace."""
        assert self._process is not None
        number = self._process.pid
        return int(Path(f"/proc/{number}/task/{number}/children").read_text().split()[0])


def _image() -> bytes:
    """Return an image's files: busybox, and empty directories for what is mounted."""
    found = shutil.which("busybox")
    assert found is not None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(os.path.realpath(found), "bin/busybox")
    return packed.getvalue()


def _groups(name: str) -> list[Path]:
    """Return the directories of the groups of a name: one, or one for each controller of cgroups v1."""
    return [*_CGROUPS.glob(name), *_CGROUPS.glob(f"*/{name}")]


def _remove_leftovers() -> None:
    """Remove the empty groups of test runs that are no more."""
    for group in _groups(f"{PREFIX}*{_SUFFIX}"):
        if not Path("/proc", group.name.removeprefix(PREFIX).removesuffix(_SUFFIX)).exists():
            _removed(group)


def _removed(cgroup: Path) -> bool:
    """Remove a group that has no processes left, with those below it."""
    try:
        for below, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(below)
    except OSError:
        return not cgroup.exists()
    return True

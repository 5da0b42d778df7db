"""Processes under measurement: started on a processor of their own, accounted for by the kernel, ended for certain."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Running:
    """A process, and the port that it serves."""

    name: str
    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """Return the processor time that it and its children have used."""
        return sum(_ticks(pid) for pid in self._pids()) / TICK

    def memory(self) -> tuple[float, float]:
        """Return resident and proportional set size in MB, of it and its children together."""
        found = {"Rss": 0, "Pss": 0}
        for pid in self._pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in found:
                    found[name] += int(rest.split()[0])
        return found["Rss"] / 1024, found["Pss"] / 1024

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def needed(*programs: str) -> None:
    """End the run, saying what to install, where a program is missing."""
    missing = [program for program in programs if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        sys.exit(f"bench: needs {' and '.join(missing)}; on Debian, as root: apt-get install nginx-light wrk")


@contextlib.contextmanager
def started(
    name: str, command: Sequence[str], port: int, *, env: Mapping[str, str] | None = None, core: int = 0
) -> Iterator[Running]:
    """Run a program on one processor until the context ends; it must serve `port` within ten seconds."""
    pinned = ["taskset", "-c", str(core), *command] if _cores() > 1 else list(command)
    process = subprocess.Popen(
        pinned, env=dict(env) if env is not None else None, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    try:
        _wait(name, process, port)
        yield Running(name, process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _wait(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    sys.exit(f"bench: {name} did not serve on port {port}")


def _cores() -> int:
    return len(os.sched_getaffinity(0))

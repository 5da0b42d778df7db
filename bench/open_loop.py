"""Load that comes when it comes: requests at a fixed rate, whether the ones before were answered or not.

    python -m bench.open_loop PORT TOKEN_FILE RATE SECONDS

A latency is counted from the moment that a request was due, so that a server that stalls is not asked less meanwhile.
Prints percentiles in µs, how late the load itself was (p99), and errors.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.processes import ROOT

_CONNECTIONS = 64
_TICK = 0.0005


@dataclass(frozen=True)
class Spread:
    """Latencies of one run in µs; how late the load was at worst but for one in a hundred; errors."""

    p50: float
    p99: float
    p999: float
    late: float
    errors: int


def open_loop(port: int, token_file: Path, rate: float, seconds: float, *, core: int = 1) -> Spread:
    """Run once, on a processor of its own, and return what it measured."""
    words = ["taskset", "-c", str(core), sys.executable, "-m", "bench.open_loop"]
    words += [str(port), str(token_file), str(rate), str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    *times, errors = done.stdout.split()
    return Spread(*map(float, times), int(errors))


class _Connection(asyncio.Protocol):
    """Has one request under way at most."""

    def __init__(self, load: _Load) -> None:
        self._load, self._left, self._due = load, 0, 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._load.idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was due at that moment."""
        assert self.transport is not None
        self._due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._left:
            if not data.startswith(b"HTTP/1.1 200"):
                self._load.errors += 1
            head = data.index(b"\r\n\r\n") + 4  # answers of the door and of nginx come with their head whole
            at = data.lower().index(b"content-length:", 0, head) + 15
            self._left = int(data[at : data.index(b"\r", at)]) + head
        self._left -= len(data)
        if self._left <= 0:
            self._load.took.append(time.perf_counter() - self._due)
            self._load.idle.append(self)
            self._load.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.errors += not self._load.over


class _Load:
    """Keeps the rate: what is due goes out on an idle connection, or waits for one."""

    def __init__(self, requests: list[bytes], rate: float) -> None:
        self._requests, self._rate = requests, rate
        self.idle: deque[_Connection] = deque()
        self.took: list[float] = []
        self.late: list[float] = []
        self.errors, self.over = 0, False
        self._due: deque[float] = deque()

    def next(self) -> None:
        """Send what is due as far as connections are idle."""
        while self._due and self.idle:
            self.idle.popleft().ask(random.choice(self._requests), self._due.popleft())

    async def run(self, seconds: float) -> None:
        """Ask for so long."""
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < began + seconds:
            while (due := began + sent / self._rate) <= now:
                self._due.append(due)
                sent += 1
                if sent % 16 == 0:
                    self.late.append(now - due)
            self.next()
            await asyncio.sleep(max(0.0, _TICK - (time.perf_counter() - now)))
        await asyncio.sleep(0.2)
        self.over = True


async def _main(port: int, lines: list[str], rate: float, seconds: float) -> None:
    head = f"GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: "
    load = _Load([f"{head}{line}\r\n\r\n".encode() for line in lines], rate)
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port) for _ in range(_CONNECTIONS)]
    await load.run(1.0)  # until the door knows all requests
    load.took.clear()
    load.late.clear()
    load.over = False
    await load.run(seconds)
    for transport, _ in made:
        transport.close()
    times, late = sorted(load.took), sorted(load.late)
    found = [times[int(len(times) * part)] * 1e6 for part in (0.5, 0.99, 0.999)]
    print(*(f"{one:.0f}" for one in (*found, late[int(len(late) * 0.99)] * 1e6)), load.errors)


if __name__ == "__main__":
    uvloop.run(
        _main(int(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines(), float(sys.argv[3]), float(sys.argv[4]))
    )

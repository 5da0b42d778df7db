"""The agent when it is cold, besieged or full: calls upstream, waiting pods, neighbours, memory, start."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.agent_door import agent, ask, fake_eks_auth, fill
from bench.load import flood, tokens
from bench.processes import Running
from rolecall.edges.memory import EVERY


def run(rounds: int = 5) -> list[str]:
    """Measure, and return the rows of the table."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = ["| case | measured | budget |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as name, fake_eks_auth() as upstream:
        work = Path(name)
        rows += _herds(work, upstream)
        rows += _cold(work, upstream)
        rows.append(_neighbour(work, upstream, rounds))
        rows.append(_memory(work, upstream, EVERY + 2 if rounds > 1 else 0))
        rows.append(_start(work, upstream, rounds))
    return rows


def mode(upstream: Running, what: str) -> None:
    """Set how the fake EKS Auth answers; this sets its count of calls to zero."""
    request = urllib.request.Request(f"http://127.0.0.1:{upstream.port}/mode/{what}", method="PUT")
    urllib.request.urlopen(request, timeout=5).close()


def calls(upstream: Running) -> int:
    """Return how often the fake EKS Auth was asked."""
    with urllib.request.urlopen(f"http://127.0.0.1:{upstream.port}/calls", timeout=5) as answer:
        return int(answer.read())


async def fetch(port: int, token: str, peer: str = "127.0.0.1") -> tuple[int, float]:
    """Ask the door on a new connection; return the status and the seconds until the whole answer was there."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(peer, 0))
    head = f"GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]), time.perf_counter() - started


async def all_of(port: int, asked: list[str]) -> list[tuple[int, float]]:
    """Ask for all of these at once."""
    return list(await asyncio.gather(*(fetch(port, token) for token in asked)))


def _herds(work: Path, upstream: Running) -> list[str]:
    rows = []
    with agent(work, upstream.port) as door:
        for number, (name, what) in enumerate(
            (("slow", "ok/0.5"), ("denied", "deny/0.2"), ("failing", "fail/0.2"), ("at once", "ok"))
        ):
            mode(upstream, what)
            found = asyncio.run(all_of(door.port, [tokens(200)[number]] * 50))
            statuses = sorted({status for status, _ in found})
            made = calls(upstream)
            # A failing call is tried again by the one flight: three attempts, not fifty.
            rows.append(f"| herd of 50, upstream {name} | {made} upstream calls, status {statuses} | 1 question |")
        mode(upstream, "ok")
    return rows


def _cold(work: Path, upstream: Running) -> list[str]:
    with agent(work, upstream.port) as door:
        mode(upstream, "ok/0.15")
        fresh = tokens(400)
        single = sorted(asyncio.run(fetch(door.port, token))[1] for token in fresh[:60])
        started = time.perf_counter()
        found = asyncio.run(all_of(door.port, fresh[100:210]))
        took = time.perf_counter() - started
        beside = asyncio.run(_beside(door.port, tokens(700)[420:]))
        mode(upstream, "ok")
    assert all(status == 200 for status, _ in found), "a pod of the node start was refused"
    p99 = single[int(len(single) * 0.99)]
    return [
        f"| cold, upstream 150 ms, one pod: p99 | {p99 * 1000:.0f} ms | < 200 ms |",
        f"| node start, 110 pods at once, upstream 150 ms | all served in {took * 1000:.0f} ms | < 1 s |",
        f"| the same pod while its neighbour asks for 270 unknown tokens | {beside * 1000:.0f} ms | |",
    ]


async def _beside(port: int, asked: list[str]) -> float:
    """Return the seconds of one cold pod that comes just after a neighbour's crowd."""
    crowd = [asyncio.create_task(fetch(port, token, peer="127.0.0.8")) for token in asked[:270]]
    await asyncio.sleep(0.1)
    _, took = await fetch(port, asked[-1], peer="127.0.0.7")
    await asyncio.gather(*crowd)
    return took


def _neighbour(work: Path, upstream: Running, rounds: int) -> str:
    """A well-behaved pod asks 200 times a second, alone and while a neighbour floods with garbage tokens."""
    quiet, besieged, refused = [], [], 0
    with agent(work, upstream.port) as door:
        good, garbage = tokens(1)[0], work / "garbage"
        garbage.write_text("\n".join(f"{token}.more" for token in tokens(500)) + "\n")
        ask(door.port, good)
        for _ in range(rounds):
            quiet.append(asyncio.run(_paced(door.port, good))[0])
            with flood(door.port, garbage):
                p99, count = asyncio.run(_paced(door.port, good))
            besieged.append(p99)
            refused += count
    ratio = statistics.median(b / q for b, q in zip(besieged, quiet, strict=True))
    return (
        f"| a neighbour floods with garbage: p99 of a well-behaved pod | {statistics.median(quiet) * 1000:.1f} → "
        f"{statistics.median(besieged) * 1000:.1f} ms "
        f"({ratio:.1f} times), {refused} not answered with 200 | at most twice, none |"
    )


async def _paced(port: int, token: str) -> tuple[float, int]:
    """Ask 200 times a second from an address of its own; return the p99 in seconds, and how many were refused."""
    found = []
    for _ in range(400):
        found.append(await fetch(port, token, peer="127.0.0.9"))
        await asyncio.sleep(0.005)
    times = sorted(seconds for _, seconds in found)
    return times[int(len(times) * 0.99)], sum(status != 200 for status, _ in found)


def _memory(work: Path, upstream: Running, wait: float) -> str:
    with agent(work, upstream.port) as door:
        time.sleep(0.5)  # the start goes on for a moment when the door is open
        idle, idle_pss = door.memory()
        fill(door.port, tokens(2000))
        held, held_pss = door.memory()
        connections = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(1000)]
        time.sleep(0.5)
        full, pss = door.memory()
        time.sleep(wait)  # what only the burst needed is given back meanwhile
        after, after_pss = door.memory()
        for connection in connections:
            connection.close()
    return (
        "| memory (RSS) idle; just after 2,000 credentials were fetched; and 1,000 idle connections; "
        f"{wait:.0f} s later | "
        f"{idle:.1f}; {held:.1f}; {full:.1f}; {after:.1f} MB (PSS {idle_pss:.1f}; {held_pss:.1f}; {pss:.1f}; "
        f"{after_pss:.1f}) | ≤ 32 MB: [decision 7](../docs/decisions/0007-what-the-agents-memory-is-made-of.md) |"
    )


def _start(work: Path, upstream: Running, rounds: int) -> str:
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        with agent(work, upstream.port) as door:
            ask(door.port, tokens(1)[0])
            took.append(time.perf_counter() - started)
    return f"| process to first 200 | {statistics.median(took) * 1000:.0f} ms | ≤ 300 ms |"

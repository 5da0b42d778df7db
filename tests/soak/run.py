"""The run itself: a real agent, an upstream that fails in turns, tokens that rotate, careless and hostile clients."""

from __future__ import annotations

import random
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from integration.test_agent_faults import RESET, Running, Upstream, answers, connect, damaged, request, serving, status
from integration.test_agent_process import QUIET

FAULTS = ("", "", "reset", "", "noise", "", "half a body", "endless", "")
"""What upstream does, a few seconds each."""
PODS, ENTRIES = 100, 200
"""Pods, and how many credentials the agent may keep: fewer than tokens come, so that it is soon full."""
PAUSE = 0.01
HOLDER = "the pod that is never without"


@dataclass(frozen=True)
class Sample:
    """The process at one moment; MB."""

    at: float
    rss: float
    pss: float
    descriptors: int
    threads: int

    def line(self) -> str:
        """Return it as a row."""
        return f"{self.at:7.0f}  {self.rss:7.1f}  {self.pss:7.1f}  {self.descriptors:5d}  {self.threads:7d}"


TITLE = "seconds   RSS MB   PSS MB    fds  threads"


def look(agent: Running, at: float) -> Sample:
    """Return how the process is now."""
    proc = Path(f"/proc/{agent.process.pid}")
    found = dict(
        line.split(":", 1)
        for line in (proc / "smaps_rollup").read_text().splitlines()
        if line.startswith(("Rss", "Pss:"))
    )
    threads = (proc / "status").read_text().partition("Threads:")[2].split()[0]
    rss, pss = (int(found[name].split()[0]) / 1024 for name in ("Rss", "Pss"))
    return Sample(at, rss, pss, agent.descriptors(), int(threads))


def grown(samples: list[Sample]) -> list[str]:
    """Return what has grown: the medians of the two halves after the first third, the warm-up, are compared."""
    warm = samples[len(samples) // 3 :]
    before, after = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    found = []
    for name, spare in (("rss", 2.0), ("pss", 2.0), ("descriptors", 24.0), ("threads", 4.0)):
        first, last = (statistics.median(getattr(sample, name) for sample in half) for half in (before, after))
        if last > first * 1.03 + spare:
            found.append(f"{name} is not flat: {first:.1f}, later {last:.1f}")
    return found


class Clients:
    """Threads that use the door until they are told to stop, and what they got."""

    def __init__(self, door: str) -> None:
        self.door, self.ended, self.codes, self.lost = door, threading.Event(), Counter[str](), list[str]()
        works = (self._pods, self._pods, self._holder, self._garbage, self._half)
        self._threads = [threading.Thread(target=self._run, args=(work, seed)) for seed, work in enumerate(works)]
        for thread in self._threads:
            thread.start()

    def _run(self, work: Callable[[random.Random], None], seed: int) -> None:
        dice = random.Random(seed)
        while not self.ended.wait(PAUSE):
            try:
                work(dice)
            except (OSError, IndexError) as fault:
                if work == self._holder:
                    self.lost.append(repr(fault))
                self.codes[type(fault).__name__] += 1

    def _pods(self, dice: random.Random) -> None:
        """One of the pods, whose token is another one every three seconds, on a connection of its own."""
        name = f"{dice.randrange(PODS)}-{int(time.monotonic() / 3)}"
        with connect(self.door) as connection:
            for _ in range(dice.randrange(1, 5)):
                connection.sendall(request(self.door, name))
                self.codes[f"pods {status(connection)}"] += 1

    def _holder(self, _dice: random.Random) -> None:
        """A pod that had its credentials before everything began: whatever happens, it is served."""
        with connect(self.door) as connection:
            connection.sendall(request(self.door, HOLDER))
            code = status(connection)
            self.codes[f"holder {code}"] += 1
            if code != 200:
                self.lost.append(str(code))

    def _garbage(self, dice: random.Random) -> None:
        with connect(self.door) as connection:
            connection.sendall(damaged(dice, request(self.door, f"{dice.randrange(PODS)}")))
            connection.shutdown(socket.SHUT_WR)
            self.codes.update(f"garbage {code}" for code in answers(connection))

    def _half(self, dice: random.Random) -> None:
        """Somebody who sends half, or all, and is gone without a word."""
        with connect(self.door) as connection:
            connection.sendall(request(self.door, f"half-{dice.randrange(1000)}")[: -dice.randrange(1, 400)])
            if dice.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def end(self) -> None:
        """Have them stop."""
        self.ended.set()
        for thread in self._threads:
            thread.join(30)


def soak(home: Path, *, seconds: float, every: float, say: Callable[[str], None]) -> list[str]:
    """Run for so long and look every so often, saying each row; return what is wrong."""
    flags = ("-b", "127.0.0.1", "-p", "0", *QUIET, "--max-cache-size", str(ENTRIES))
    samples: list[Sample] = []
    with Upstream() as upstream:
        thread = threading.Thread(target=upstream.serve_forever, args=(0.01,))
        thread.start()
        try:
            with serving(home, upstream, *flags) as (agent, door):
                with connect(door) as first:
                    first.sendall(request(door, HOLDER))
                    assert status(first) == 200
                clients, began = Clients(door), time.monotonic()
                say(TITLE)
                try:
                    while (at := time.monotonic() - began) < seconds:
                        upstream.fault = FAULTS[int(at / 3) % len(FAULTS)]
                        if at >= len(samples) * every:
                            samples.append(look(agent, at))
                            say(samples[-1].line())
                        time.sleep(0.1)
                        assert agent.process.poll() is None, "it has ended"
                finally:
                    clients.end()
                crashes = [str(line) for line in agent.end() if "crash" in str(line["event"])]
        finally:
            upstream.released.set()
            upstream.shutdown()
            thread.join()
    say(", ".join(f"{what}: {number}" for what, number in sorted(clients.codes.items())))
    lost = [f"the holder was not served {len(clients.lost)} times: {clients.lost[:3]}"] if clients.lost else []
    return [*grown(samples), *lost, *crashes[:5]]

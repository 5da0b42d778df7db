"""Who has an address, as a real Docker engine says it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docker.engine import Engine
from integration.dev_plane import wait_until
from rolecall.core.records import ContainerFacts
from rolecall.edges.clock import SystemClock
from rolecall.edges.docker.engine import DockerEngine

pytestmark = pytest.mark.timeout(300)
KEEP = frozenset({"IAM_ROLE"})
KILLED = """
import os, signal, sys
from pathlib import Path
from docker.engine import Engine
from sdks.namespace import new_namespace
with new_namespace() as namespace:
    engine = Engine(namespace, Path(sys.argv[1])).start()
    engine.run("left")
    print(*engine.processes(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def at(engine: Engine, address: str) -> list[ContainerFacts]:
    """Return who has an address."""

    async def main() -> list[ContainerFacts]:
        asked = DockerEngine(engine.socket, clock=SystemClock(), keep=KEEP, timeout=10)
        try:
            return await asked.at(address)
        finally:
            asked.close()

    return asyncio.run(main())


def test_containers_are_told_apart(engine: Engine) -> None:
    """Each is at its own address; one without the variable is known, too, and a free address is nobody's."""
    roles = {"one": "a", "two": "b", "bare": ""}
    for name, role in roles.items():
        engine.run(name, env={"IAM_ROLE": role, "PASSWORD": "hush"} if role else {}, labels={"of": name})
    for name, role in roles.items():
        (found,) = at(engine, engine.address(name))
        assert (found.name, found.environment, found.labels) == (name, {"IAM_ROLE": role} if role else {}, {"of": name})
    assert at(engine, "172.31.250.200") == []
    for name in roles:
        engine.remove(name)


def test_the_next_at_an_address_is_not_taken_for_the_last(engine: Engine) -> None:
    """Whatever ends is nobody at once: stopped, killed by itself, taken off its network."""
    ends = {
        "removed": lambda: engine.remove("last"),
        "killed": lambda: engine.call("POST", "/containers/last/kill"),
        "disconnected": lambda: engine.call("POST", "/networks/bridge/disconnect", {"Container": "last"}),
    }
    for turn, (how, end) in itertools.product(range(2), ends.items()):
        engine.run("last", env={"IAM_ROLE": f"last-{turn}"})
        address = engine.address("last")
        end()
        assert at(engine, address) == [], how
        engine.run("next", env={"IAM_ROLE": f"next-{turn}"})
        assert engine.address("next") == address
        (found,) = at(engine, address)
        assert found.environment == {"IAM_ROLE": f"next-{turn}"}
        engine.remove("next")
        if how != "removed":
            engine.remove("last")


def test_a_container_on_the_hosts_network_has_no_address(engine: Engine) -> None:
    """Not even the host's own: whoever asks from there is nobody."""
    engine.run("host", env={"IAM_ROLE": "a"}, network="host")
    try:
        assert at(engine, "172.31.250.1") == []
        assert at(engine, "127.0.0.1") == []
    finally:
        engine.remove("host")


def test_a_killed_run_leaves_no_process(engine: Engine, tmp_path: Path) -> None:
    """The engine, what it started to run containers, and the containers end with whoever started it."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=env, capture_output=True, text=True, check=False
    )
    left = done.stdout.split()
    assert len(left) >= 5, done.stderr  # a shell, dockerd, containerd, its shim, and the container
    wait_until(lambda: not any(Path("/proc", one).exists() for one in left), f"{left} to end")

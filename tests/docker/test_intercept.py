"""Interception in front of a real Docker engine's bridge: what containers reach, and what the host."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from docker.engine import Engine
from docker.inside import inside
from integration.dev_plane import ROOT
from integration.network import SERVICE, answer, ask, listen

ROLECALL = str(ROOT / ".venv" / "bin" / "rolecall")
DOOR = ("169.254.170.23", 8181)
DOCKER = ("--dialect", "metadataproxy", "--host-interface", "docker0", "--canary")


@contextmanager
def says(words: str, address: tuple[str, int]) -> Iterator[None]:
    """Have a server of the host at that address say words and who asks."""
    with listen(*address) as listener:
        threading.Thread(target=answer, args=(listener, words, 0), daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def intercept(*flags: str) -> None:
    """Run the command on the host; it must succeed."""
    command = [ROLECALL, "agent", "initialize", "--intercept", "imds", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_containers_of_the_bridge_land_at_the_door(engine: Engine) -> None:
    """And at nothing while it is away; the host still reaches what is its own, and after --remove so do they."""
    if shutil.which("nft") is None:
        pytest.skip("needs nft of nftables")
    engine.run("asks")
    there, who = engine.network_of("asks"), engine.address("asks")

    def asked() -> str:
        with inside(there):
            return ask((SERVICE, 80))

    with ExitStack() as stack:
        stack.callback(engine.remove, "asks")
        stack.enter_context(inside(engine.network))
        stack.callback(subprocess.run, [ROLECALL, "agent", "initialize", "--remove"], check=True)
        stack.callback(intercept, "--remove")
        stack.enter_context(says("the host's role for", (SERVICE, 80)))
        assert asked() == f"the host's role for {who}"
        intercept(*DOCKER)
        with says("the door for", DOOR):
            assert asked() == f"the door for {who}"
        assert asked() == "ConnectionRefusedError"
        assert ask((SERVICE, 80)).startswith("the host's role for")
        intercept()
        assert asked() == "ConnectionRefusedError"
        intercept("--remove")
        assert asked() == f"the host's role for {who}"

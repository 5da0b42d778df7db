"""The packet filter brings containers to the agent: what they send to EC2's address comes there, or nowhere."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest

from docker.engine import Engine
from docker.host import DOOR, ROLES, Host, asked, hosting
from integration.dev_plane import ACCOUNT, plain_environment

pytestmark = pytest.mark.timeout(300)
REFUSED = r"refused|reset"


@pytest.fixture
def host(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with the rules, whose agent is not started yet. At EC2's address something listens, as on EC2."""
    with hosting(engine, tmp_path_factory.mktemp("host")) as host, socket.create_server((DOOR, 80)):
        words = ["--intercept", "imds", "--dialect", "metadataproxy", "--host-interface", "docker0"]
        _initialize(host, *words, "--canary")
        yield host
        _initialize(host, "--intercept", "imds", "--remove")
        _initialize(host, "--remove")


def _initialize(host: Host, *words: str) -> None:
    command = ["rolecall", "agent", "initialize", *words]
    environment = plain_environment(host.directory)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_containers_come_to_the_agent_and_to_nobody_else(host: Host) -> None:
    """Each gets its own role; before the agent is there, and after it was killed, nothing answers."""
    engine = host.engine
    engine.run("behind", env={"IAM_ROLE": "one"})
    try:
        behind = engine.network_of("behind")
        socket.create_connection((DOOR, 80), 10).close()  # the host itself is not kept from it
        with pytest.raises(OSError, match=REFUSED):
            asked(behind, ROLES)
        flags = ["--dialect", "metadataproxy", "--docker-socket", str(engine.socket), "--default-account-id", ACCOUNT]
        host.start_agent(["rolecall", "agent", "serve", *flags], {})
        assert asked(behind, ROLES) == (200, b"one")
        status, document = asked(behind, f"{ROLES}one")
        assert status == 200, document
        assert host.owner_of_document(document) == "one/devproxyauth"
        host.agent.kill()
        host.agent.wait()
        with pytest.raises(OSError, match=REFUSED):
            asked(behind, ROLES)
    finally:
        engine.remove("behind")

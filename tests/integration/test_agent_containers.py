"""The metadata door of a host without Kubernetes, as a process: its table, its made-up instance, its missing engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from integration.dev_plane import wait_until
from integration.imds_server import instance
from integration.test_agent_metadata import HERE, OFF, ROLES, ask
from integration.test_agent_process import agent, free_port, get
from sdks.street import key_of
from sdks.sts import Sts

ROLE = "team/carts"
MINE, OTHERS = "127.0.0.1", "127.0.0.9"
DIALECT = (*HERE, "--dialect", "metadataproxy")


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    """The surroundings of an agent whose STS gives any role, with a key that says which."""
    with ThreadingHTTPServer((MINE, 0), Sts) as sts:
        threading.Thread(target=sts.serve_forever, args=(0.01,), daemon=True).start()
        keys = {"AWS_ACCESS_KEY_ID": "AKIANODE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-west-2"}
        yield keys | {"AWS_ENDPOINT_URL_STS": f"http://{MINE}:{sts.server_port}"}
        sts.shutdown()


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A file by which one address has a role."""
    file = tmp_path / "table.json"
    file.write_text(json.dumps({MINE: ROLE}))
    return str(file)


def test_an_instance_that_is_made_up(env: dict[str, str], table: str, tmp_path: Path) -> None:
    """A laptop without Docker and without EC2: a role by address, a region, and nobody else gets anything."""
    words = ("--role-mapping-file", table, "--default-account-id", "123456789012", "--mock-instance", "mockedid")
    with agent(tmp_path, *DIALECT, *OFF, *words, "--default-role", "d", env=env) as started:
        door = started.door()
        assert ask(door, ROLES, MINE) == (200, ROLE.encode())
        assert json.loads(ask(door, ROLES + ROLE, MINE)[1])["AccessKeyId"] == key_of(
            f"arn:aws:iam::123456789012:role/{ROLE}"
        )
        assert ask(door, "/latest/meta-data/instance-id", MINE) == (200, b"i-mockedid")
        assert ask(door, "/latest/meta-data/placement/region", MINE) == (200, b"us-west-2")
        assert ask(door, "/latest/user-data", MINE)[0] == 404
        assert [ask(door, ROLES + role, OTHERS) for role in ("", ROLE, "d")] == [(404, b"")] * 3


def test_a_role_without_an_account_is_in_the_nodes(env: dict[str, str], table: str, tmp_path: Path) -> None:
    """The node's own service says which that is, the region in which partition; the node's documents are passed on."""
    with instance() as node:
        document = json.dumps({"accountId": "210987654321", "region": "us-west-2"}).encode()
        node.answers["/latest/dynamic/instance-identity/document"] = (200, document, 0.0)
        words = ("--role-mapping-file", table, "--imds-upstream", f"{node.url}/")
        with agent(tmp_path, *DIALECT, *OFF, *words, "--region", "cn-north-1", env=env) as started:
            door = started.door()
            wait_until(lambda: ask(door, ROLES + ROLE, MINE)[0] == 200, "the account to be known")
            assert json.loads(ask(door, ROLES + ROLE, MINE)[1])["AccessKeyId"] == key_of(
                f"arn:aws-cn:iam::210987654321:role/{ROLE}"
            )
            assert ask(door, "/latest/meta-data/placement/region", MINE) == (200, b"us-west-2")


def test_without_an_engine_nobody_gets_anything(env: dict[str, str], tmp_path: Path) -> None:
    """It starts, says that it is not ready and why, and answers with an error."""
    probes = free_port()
    words = ("--docker-socket", str(tmp_path / "none"), "--probe-port", str(probes), "--metrics-port", "0")
    with agent(tmp_path, *DIALECT, *words, "--default-role", "d", env=env) as started:
        door = started.door()
        assert started.event("agent.docker_unreachable")["hint"]
        status, body, _ = get(f"{MINE}:{probes}", "/readyz")
        assert (status, b"cannot be reached" in body) == (503, True)
        assert [ask(door, path, MINE)[0] for path in (ROLES, f"{ROLES}d", "/latest/meta-data/instance-id")] == [500] * 3

"""boto3 in containers, for longer than sessions last."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from docker.engine import Engine
from docker.host import MOUNTS, PROGRAM, Host, hosting
from integration.dev_plane import ACCOUNT, ROOT, wait_until

pytestmark = pytest.mark.timeout(300)
LIFE = 8
"""Seconds of a session: the plane cuts them short, so that many follow each other while a program runs."""
ROTATIONS = 3
ROLES = {"own-one": "one", "own-two": "team/two", "own-three": f"arn:aws:iam::{ACCOUNT}:role/three"}


@pytest.fixture(scope="module")
def host(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose sessions are short, and boto3 in four containers, of which one has no role."""
    python = [str(ROOT / ".venv" / "bin" / "python"), str(PROGRAM)]
    with hosting(engine, tmp_path_factory.mktemp("host"), "--max-session-seconds", str(LIFE)) as host:
        host.start()
        for name, role in (ROLES | {"own-none": ""}).items():
            variables = {"HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"} | ({"IAM_ROLE": role} if role else {})
            engine.run(name, *python, env=variables, mounts=MOUNTS)
        yield host
        host.stop()
        for name in (*ROLES, "own-none"):
            engine.remove(name)


@pytest.mark.parametrize("name", ROLES)
def test_its_own_role_again_and_again(host: Host, name: str) -> None:
    """Session follows session while the program runs, always of the container's role."""
    keys: set[str] = set()

    def rotated() -> bool:
        lines = host.engine.output(name).splitlines()
        for found in map(json.loads, lines[-1:]):
            assert found, (lines, host.said()[-2000:])
            try:
                assert host.owner(found) == f"{name.removeprefix('own-')}/devproxyauth"
                keys.add(found["access_key"])
            except ClientError as late:  # this process was too slow to ask while they lived: the next ones will do
                if late.response["Error"]["Code"] != "ExpiredToken":
                    raise
        return len(keys) > ROTATIONS

    wait_until(rotated, f"sessions of {name} to follow each other; the agent: {host.said()[-2000:]}", 20 * LIFE)


def test_nothing_without_a_role(host: Host) -> None:
    """boto3 has asked meanwhile, and has found nothing each time."""
    wait_until(lambda: len(host.engine.output("own-none").splitlines()) > ROTATIONS, "boto3 to have asked")
    assert set(host.engine.output("own-none").splitlines()) == {"{}"}

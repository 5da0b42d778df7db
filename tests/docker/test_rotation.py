"""boto3 in containers, for longer than sessions last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from docker.engine import Engine
from docker.host import MOUNTS, PROGRAM, Host, hosting
from integration.dev_plane import ACCOUNT, ROOT, wait_until

LIFE = int(os.environ.get("SESSION", "8"))
"""Seconds of a session: the plane cuts them short, so that many follow each other while a program runs."""
ROTATIONS = max(2, 24 // LIFE)
"""A session is renewed when half of it is over: at the second rotation the first one has ended, or nearly."""
PATIENCE = 160 + ROTATIONS * LIFE
PAUSE = max(0.3, LIFE / 60)
"""Seconds between two looks of a program, and of the test at what programs have found."""
pytestmark = pytest.mark.timeout(PATIENCE + 140)
ROLES = {"own-one": "one", "own-two": "team/two", "own-three": f"arn:aws:iam::{ACCOUNT}:role/three"}


@pytest.fixture(scope="module")
def host(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose sessions are short, and boto3 in four containers, of which one has no role."""
    python = [str(ROOT / ".venv" / "bin" / "python"), str(PROGRAM)]
    with hosting(engine, tmp_path_factory.mktemp("host"), "--max-session-seconds", str(LIFE)) as host:
        host.start()
        for name, role in (ROLES | {"own-none": ""}).items():
            variables = {"HOME": "/", "PYTHONDONTWRITEBYTECODE": "1", "PAUSE": str(PAUSE)}
            variables |= {"IAM_ROLE": role} if role else {}
            engine.run(name, *python, env=variables, mounts=MOUNTS)
        yield host
        host.stop()
        for name in (*ROLES, "own-none"):
            engine.remove(name)


def test_their_own_roles_again_and_again(host: Host) -> None:
    """Session follows session while the programs run, always of the container's role."""
    keys: dict[str, set[str]] = {name: set() for name in ROLES}
    end = time.monotonic() + PATIENCE
    while not all(len(found) > ROTATIONS for found in keys.values()):
        assert time.monotonic() < end, (keys, host.said()[-2000:])
        time.sleep(PAUSE)
        for name in ROLES:
            keys[name] |= _own_key(host, name)


def _own_key(host: Host, name: str) -> set[str]:
    """Return the key that a container has found last: it must be of its own role."""
    lines = host.engine.output(name).splitlines()
    for found in map(json.loads, lines[-1:]):
        assert found, (lines, host.said()[-2000:])
        try:
            assert host.owner(found) == f"{name.removeprefix('own-')}/devproxyauth"
            return {found["access_key"]}
        except ClientError as late:  # this process was too slow to ask while they lived: the next ones will do
            if late.response["Error"]["Code"] != "ExpiredToken":
                raise
    return set()


def test_nothing_without_a_role(host: Host) -> None:
    """boto3 has asked meanwhile, and has found nothing each time."""
    wait_until(lambda: len(host.engine.output("own-none").splitlines()) > ROTATIONS, "boto3 to have asked")
    assert set(host.engine.output("own-none").splitlines()) == {"{}"}

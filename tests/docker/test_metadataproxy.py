"""Containers get their own roles at the metadata service, whatever comes and goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docker.engine import Engine
from docker.host import ROLES, Host, asked, hosting

pytestmark = pytest.mark.timeout(900)
ROUNDS = int(os.environ.get("ROUNDS", "200"))
"""Times that an address passes on: two or three a second to containers that start, more to those that run."""
SUBNET, GATEWAY, MOVED = "172.31.251.0/24", "172.31.251.1", "172.31.251.9"


@pytest.fixture(scope="module")
def host(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose sessions last an hour."""
    with hosting(engine, tmp_path_factory.mktemp("host")) as host:
        yield host.start()
        host.stop()


@contextmanager
def running(engine: Engine, name: str, **variables: str) -> Iterator[Path]:
    """Run a container that does nothing; yield its network."""
    engine.run(name, env=variables)
    try:
        yield engine.network_of(name)
    finally:
        engine.remove(name)


def test_what_a_request_says_about_itself_is_not_heard(host: Host) -> None:
    """With another container's address in X-Forwarded-For there is no answer, or the own role: never the other's."""
    with running(host.engine, "victim", IAM_ROLE="one"), running(host.engine, "forger", IAM_ROLE="three") as forger:
        forged = {"X-Forwarded-For": host.engine.address("victim")}
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        assert asked(forger, ROLES, headers=forged)[0] == 403
        assert asked(forger, "/latest/api/token", method="PUT", headers=ttl | forged)[0] == 403
        status, token = asked(forger, "/latest/api/token", method="PUT", headers=ttl)
        assert status == 200
        shown = {"X-aws-ec2-metadata-token": token.decode()}
        assert asked(forger, ROLES, headers=shown | forged) == (200, b"three")
        assert asked(forger, f"{ROLES}one", headers=shown | forged)[0] == 404
        status, document = asked(forger, f"{ROLES}three", headers=shown | forged)
        assert status == 200, document
        assert host.owner_of_document(document) == "three/devproxyauth"


def test_a_token_does_not_pass_to_the_next_at_an_address(host: Host) -> None:
    """Version 2's token is of the container, not of the address."""
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "3600"}
    with running(host.engine, "last", IAM_ROLE="one") as last:
        address = host.engine.address("last")
        token = asked(last, "/latest/api/token", method="PUT", headers=ttl)[1].decode()
        assert asked(last, ROLES, headers={"X-aws-ec2-metadata-token": token}) == (200, b"one")
    with running(host.engine, "next", IAM_ROLE="one") as following:
        assert host.engine.address("next") == address
        assert asked(following, ROLES, headers={"X-aws-ec2-metadata-token": token})[0] == 401


def test_whoever_is_no_container_gets_nothing(host: Host) -> None:
    """Neither the host itself nor a container on its network."""
    assert asked(None, ROLES)[0] == 404
    host.engine.run("on-host", env={"IAM_ROLE": "one"}, network="host")
    try:
        assert asked(host.engine.network_of("on-host"), f"{ROLES}one")[0] == 404
    finally:
        host.engine.remove("on-host")


def test_an_engine_that_hangs(host: Host) -> None:
    """Nobody can tell then who asks: there is an error instead of an answer that was true; later all is well."""
    with running(host.engine, "waits", IAM_ROLE="one") as waits:
        assert asked(waits, ROLES) == (200, b"one")
        with host.engine.hanging():
            assert [asked(waits, path)[0] for path in (ROLES, f"{ROLES}one")] == [500, 500]
        assert asked(waits, ROLES) == (200, b"one")


def only_own(host: Host, namespace: Path, own: str, other: str, source: str = "") -> None:
    """Ask as a container does that has one role, and then for the other's, which must not be there."""
    assert asked(namespace, ROLES, source=source) == (200, own.encode())
    assert asked(namespace, f"{ROLES}{other}", source=source)[0] == 404
    status, document = asked(namespace, f"{ROLES}{own}", source=source)
    assert status == 200, document
    assert host.owner_of_document(document) == f"{own}/devproxyauth"


def test_a_container_never_gets_the_role_of_the_one_before(host: Host) -> None:
    """Each starts at the address of the last, and asks as soon as it is there."""
    roles = ("one", "three")
    for name in roles:
        host.engine.create(f"turn-{name}", env={"IAM_ROLE": name})
    try:
        addresses = set()
        for turn in range(ROUNDS):
            own, other = roles[turn % 2], roles[1 - turn % 2]
            host.engine.call("POST", f"/containers/turn-{own}/start")
            addresses.add(host.engine.address(f"turn-{own}"))
            only_own(host, host.engine.network_of(f"turn-{own}"), own, other)
            host.engine.call("POST", f"/containers/turn-{own}/kill")
        assert len(addresses) == 1
    finally:
        for name in roles:
            host.engine.remove(f"turn-{name}")


def test_an_address_that_moves_between_running_containers(host: Host) -> None:
    """The hardest: no process starts in between, and the new owner asks at once."""
    engine = host.engine
    config = {"Name": "moving", "IPAM": {"Config": [{"Subnet": SUBNET, "Gateway": GATEWAY}]}}
    engine.call("POST", "/networks/create", config)
    asks = {"EndpointConfig": {"IPAMConfig": {"IPv4Address": MOVED}}}
    with running(engine, "moves-one", IAM_ROLE="one") as one, running(engine, "moves-three", IAM_ROLE="three") as three:
        for turn in range(ROUNDS):
            own, other = (("one", "three"), ("three", "one"))[turn % 2]
            engine.call("POST", "/networks/moving/connect", {"Container": f"moves-{own}"} | asks)
            only_own(host, one if own == "one" else three, own, other, MOVED)
            engine.call("POST", "/networks/moving/disconnect", {"Container": f"moves-{own}"})
    engine.call("DELETE", "/networks/moving")

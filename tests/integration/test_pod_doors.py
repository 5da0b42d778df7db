"""The listeners of pods behind a proxy: one for each, gone with it, and no more than a laptop runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from plane_in_process import Plane
from rolecall.daemons.local_aws.imds import pod_doors
from rolecall.edges.sockets import Listener
from rolecall.errors import Misconfigured
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop, fault

PODS = f"/clusters/{CLUSTER}/pods"


class Node(Laptop):
    """A plane whose pods are behind kube2iam."""

    def run_pod(self) -> dict[str, str]:
        """Register a pod; return it, with the URL of its metadata service."""
        return self.told("POST", PODS, {"namespace": "team", "serviceAccount": "web", "proxy": "kube2iam"})

    def answers(self, url: str) -> bool:
        """Say whether somebody answers there."""
        host, _, port = url.removeprefix("http://").partition(":")

        async def ask() -> bool:
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return False
            head = f"GET /latest/meta-data/instance-id HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode())
            answer = await reader.read(-1)  # to the end: in virtual time nobody would wait for it
            writer.close()
            return answer.startswith(b"HTTP/1.1 200")

        found: bool = self.plane.run(ask())
        return found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A plane of its own; at its end every listener is closed."""
    with Plane.open(tmp_path) as plane:
        made = Node(plane)
        yield made
        plane.run(plane.doors.aclose())


def test_each_pod_has_one_until_it_ends(node: Node) -> None:
    """At an address of its own; the pod that ends takes its listener along, and only that."""
    first, second = node.run_pod(), node.run_pod()
    assert first["metadataUrl"] != second["metadataUrl"]
    assert node.told("POST", f"{PODS}/{first['uid']}/heartbeat")["metadataUrl"] == first["metadataUrl"]
    assert [node.answers(pod["metadataUrl"]) for pod in (first, second)] == [True, True]
    node.told("DELETE", f"{PODS}/{first['uid']}")
    assert [node.answers(pod["metadataUrl"]) for pod in (first, second)] == [False, True]


def test_a_pod_that_fell_silent_is_cleared_away(node: Node) -> None:
    """Its program was killed: the next pod that comes closes what it left."""
    silent = node.run_pod()
    node.plane.advance(61)
    node.run_pod()
    assert not node.answers(silent["metadataUrl"])


def test_there_are_only_so_many(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused with 429, and a pod that ends makes room."""
    monkeypatch.setattr(pod_doors, "MOST", 2)
    first = node.run_pod()
    node.run_pod()
    wanted = {"namespace": "team", "serviceAccount": "web", "proxy": "kube2iam"}
    assert fault(node.ask("POST", PODS, wanted)) == (429, "LimitExceededException")
    node.told("DELETE", f"{PODS}/{first['uid']}")
    assert node.run_pod()["metadataUrl"]


def test_where_loopback_has_one_address_each_has_a_port(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, whose kernel knows 127.0.0.1 and no other of that network."""
    bind = pod_doors.bind_tcp

    def only_one(host: str, port: int) -> Listener:
        if host != "127.0.0.1":
            raise Misconfigured(f"cannot listen on {host}:{port}: Can't assign requested address")
        return bind(host, port)

    monkeypatch.setattr(pod_doors, "bind_tcp", only_one)
    first, second = (node.run_pod()["metadataUrl"] for _ in range(2))
    assert (first != second, first.startswith("http://127.0.0.1:"), node.answers(second)) == (True, True, True)

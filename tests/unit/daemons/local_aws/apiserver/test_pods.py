"""Pods of the laptop world: they live while they are heard of."""

from __future__ import annotations

import re

import pytest

from plane_in_process import Plane
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop, fault

PODS = f"/clusters/{CLUSTER}/pods"


@pytest.fixture
def laptop(plane: Plane) -> Laptop:
    """A cluster."""
    return Laptop(plane)


def running(laptop: Laptop) -> list[str]:
    """Return the UIDs of the pods that run."""
    return [pod["uid"] for pod in laptop.told("GET", PODS)["pods"]]


def test_a_pod_is_registered(laptop: Laptop) -> None:
    """Name ``<sa>-<5 chars>`` in Kubernetes' alphabet, node rolecall-dev, and a minute to be heard of again."""
    pod = laptop.pod()
    assert re.fullmatch(r"demo-sa-[bcdfghjklmnpqrstvwxz2456789]{5}", pod["name"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", pod["uid"])
    assert (pod["cluster"], pod["namespace"], pod["serviceAccount"]) == ("demo", "demo-ns", "demo-sa")
    assert (pod["node"], pod["running"]) == ("rolecall-dev", True)
    assert pod["heartbeatBy"] == laptop.plane.clock.now() + 60
    assert laptop.told("GET", PODS)["pods"] == [pod]


def test_a_long_name_is_cut_as_kubernetes_cuts_it(laptop: Laptop) -> None:
    """generateName keeps 58 characters, so that a name has 63 at most and fits a tag."""
    account = "a" * 60 + ".b"
    assert re.fullmatch(r"a{58}[a-z0-9]{5}", laptop.pod(account)["name"])


def test_a_silent_pod_does_not_run(laptop: Laptop) -> None:
    """Each heartbeat gives another minute; to the second."""
    pod = laptop.pod()
    laptop.plane.advance(59)
    again = laptop.told("POST", f"{PODS}/{pod['uid']}/heartbeat")
    assert again["heartbeatBy"] == pod["heartbeatBy"] + 59
    laptop.plane.advance(59)
    assert running(laptop) == [pod["uid"]]
    laptop.plane.advance(1)
    assert running(laptop) == []


def test_an_ended_pod_stays_dead(laptop: Laptop) -> None:
    """Ending twice is fine, a heartbeat after it is not, and others live on."""
    pod, other = laptop.pod(), laptop.pod()
    for _ in range(2):
        assert laptop.told("DELETE", f"{PODS}/{pod['uid']}")["running"] is False
    assert fault(laptop.ask("POST", f"{PODS}/{pod['uid']}/heartbeat")) == (404, "ResourceNotFoundException")
    assert running(laptop) == [other["uid"]]


def test_pods_of_clusters_are_apart(laptop: Laptop) -> None:
    """A UID of one cluster is unknown in another."""
    laptop.cluster("second")
    pod = laptop.pod()
    assert laptop.told("GET", "/clusters/second/pods")["pods"] == []
    for method, path in (("DELETE", ""), ("POST", "/heartbeat")):
        reply = laptop.ask(method, f"/clusters/second/pods/{pod['uid']}{path}")
        assert fault(reply) == (404, "ResourceNotFoundException")
    assert running(laptop) == [pod["uid"]]


def test_a_restart_keeps_pods(laptop: Laptop) -> None:
    """A program outlives a restart of the plane, and so does its pod; an ended one stays ended."""
    pod, over = laptop.pod(), laptop.pod()
    laptop.told("DELETE", f"{PODS}/{over['uid']}")
    laptop.plane.restart()
    assert running(laptop) == [pod["uid"]]


def test_old_pods_are_forgotten(laptop: Laptop) -> None:
    """A day after their end, when the next one is registered."""
    over, silent = laptop.pod(), laptop.pod()
    laptop.told("DELETE", f"{PODS}/{over['uid']}")
    laptop.plane.advance(86_400)
    kept = laptop.pod()
    assert {row[0] for row in laptop.plane.tables()["pods"]} == {over["uid"], silent["uid"], kept["uid"]}
    laptop.plane.advance(61)
    fresh = laptop.pod()
    assert {row[0] for row in laptop.plane.tables()["pods"]} == {kept["uid"], fresh["uid"]}


@pytest.mark.parametrize(
    "body",
    [{}, {"namespace": "a"}, {"namespace": "A", "serviceAccount": "b"}, {"namespace": "a", "serviceAccount": "b/"},
     {"namespace": "a", "serviceAccount": "b", "name": "mine"}],
)  # fmt: skip
def test_illegal_pods_write_nothing(refusing: Laptop, body: dict[str, str]) -> None:
    """400; nobody chooses a pod's name."""
    before = refusing.plane.tables()
    assert fault(refusing.ask("POST", PODS, body)) == (400, "InvalidParameterException")
    assert refusing.plane.tables() == before

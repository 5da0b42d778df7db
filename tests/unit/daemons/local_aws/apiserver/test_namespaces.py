"""Namespaces of the laptop world, and pods that come with annotations."""

from __future__ import annotations

import pytest

from plane_in_process import Plane
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop, fault

NAMESPACES = f"/clusters/{CLUSTER}/namespaces"
KEY = "iam.amazonaws.com/permitted"


def test_annotations_are_set_listed_and_removed(plane: Plane) -> None:
    """They last; a namespace without any is there, and is not listed."""
    laptop = Laptop(plane)
    assert laptop.told("PUT", f"{NAMESPACES}/team", {"annotations": {KEY: ".*"}})["annotations"] == {KEY: ".*"}
    laptop.told("PUT", f"{NAMESPACES}/alpha", {"annotations": {"a": "b", "c": "d"}})
    laptop.told("PUT", f"{NAMESPACES}/alpha", {"annotations": {"c": None}})
    plane.restart()
    listed = laptop.told("GET", NAMESPACES)["namespaces"]
    assert [(one["name"], one["annotations"]) for one in listed] == [("alpha", {"a": "b"}), ("team", {KEY: ".*"})]
    assert laptop.told("PUT", f"{NAMESPACES}/team", {"annotations": {KEY: None}})["annotations"] == {}
    assert [one["name"] for one in laptop.told("GET", NAMESPACES)["namespaces"]] == ["alpha"]


@pytest.mark.parametrize(
    ("path", "annotations"),
    [("Team", {"a": "b"}), ("team", {"-/a": "b"}), ("team", {"": "b"}), ("team", {"a": "x" * 262_144})],
    ids=["name", "key", "no-key", "too-long"],
)
def test_what_kubernetes_would_not_take_is_refused(refusing: Laptop, path: str, annotations: dict[str, str]) -> None:
    """For a namespace, and for the annotations of a pod."""
    status, _ = fault(refusing.ask("PUT", f"{NAMESPACES}/{path}", {"annotations": annotations}))
    assert status in (400, 413)
    pod = {"namespace": path, "serviceAccount": "web", "annotations": annotations}
    assert fault(refusing.ask("POST", f"/clusters/{CLUSTER}/pods", pod))[0] in (400, 413)


def test_a_cluster_that_is_not_there_has_no_namespaces(refusing: Laptop) -> None:
    """As for everything else of a cluster."""
    assert fault(refusing.ask("GET", "/clusters/none/namespaces"))[0] == 404


def test_an_unknown_proxy_is_refused(refusing: Laptop) -> None:
    """By the field's own name, with those that there are."""
    reply = refusing.ask("POST", f"/clusters/{CLUSTER}/pods", {"namespace": "a", "serviceAccount": "b", "proxy": "x"})
    assert fault(reply) == (400, "InvalidParameterException")
    assert b"$.proxy" in reply.body

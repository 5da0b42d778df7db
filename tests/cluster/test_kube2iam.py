"""The metadata door at a real API server: what a pod is from its creation, over its deletion, to its end."""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable
from pathlib import Path

from cluster.control_plane import ControlPlane
from integration.dev_plane import wait_until
from integration.test_agent_process import agent

ROLES = "/latest/meta-data/iam/security-credentials/"
A, B = "127.0.0.7", "127.0.0.8"
NEEDED = {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["get", "list", "watch"]}


def ask(door: str, address: str, path: str = ROLES) -> tuple[int, str]:
    """Return what whoever is at this address is answered."""
    host, _, port = door.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20, source_address=(address, 0))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def says(door: str, address: str, expected: tuple[int, str]) -> Callable[[], bool]:
    """Return whether that is what is answered now."""
    return lambda: ask(door, address) == expected


def test_a_pods_life(control_plane: ControlPlane, tmp_path: Path) -> None:
    """With the rights of the manifest and no more; restrictions by the namespace; a deletion that has begun, an address
    that is used again, and a pod of another node."""
    namespace, admin = control_plane.namespace("door"), control_plane.admin
    kubeconfig = control_plane.allow(namespace, "default", NEEDED)
    for node in ("door-a", "door-b"):
        control_plane.node(node)
    pods = f"/api/v1/namespaces/{namespace}/pods"

    def run(name: str, address: str, role: str, node: str = "door-a") -> None:
        control_plane.pod(namespace, name, nodeName=node)
        admin.patch(f"{pods}/{name}", {"metadata": {"annotations": {"iam.amazonaws.com/role": role}}})
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        admin.patch(f"{pods}/{name}/status", {"status": status})

    words = ["--imds-bind-hosts", "127.0.0.1", "--imds-port", "0", "--probe-port", "0", "--metrics-port", "0"]
    words += ["--dialect", "kube2iam", "--base-role-arn", "arn:aws:iam::123456789012:role/", "--node-name", "door-a"]
    words += ["--namespace-restrictions", "--kubeconfig", str(kubeconfig)]
    run("first", A, "reader")
    run("elsewhere", B, "reader", "door-b")
    env = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    with agent(tmp_path, *words, env=env | {"PATH": os.environ["PATH"]}) as started:
        door = started.door()
        status, told = ask(door, A)
        assert (status, "not valid for namespace" in told) == (404, True)
        permits = {"metadata": {"annotations": {"iam.amazonaws.com/allowed-roles": '["read*", "new"]'}}}
        admin.patch(f"/api/v1/namespaces/{namespace}", permits)
        wait_until(says(door, A, (200, "reader")), "the namespace to permit it")
        assert ask(door, B)[0] == 404
        assert admin.ask("DELETE", f"{pods}/first")[0] == 200  # its deletion begins: no kubelet ends it
        assert admin.get(f"{pods}/first")["metadata"]["deletionTimestamp"]
        wait_until(lambda: ask(door, A)[0] == 404, "its address to be nobody's")
        run("second", A, "new")
        wait_until(says(door, A, (200, "new")), "its address to be the next one's")
        assert admin.ask("DELETE", f"{pods}/first?gracePeriodSeconds=0")[0] == 200
        assert ask(door, A) == (200, "new")
        admin.patch(f"{pods}/second/status", {"status": {"phase": "Succeeded"}})
        wait_until(lambda: ask(door, A)[0] == 404, "its end")

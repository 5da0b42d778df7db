"""The metadata door as a process: pods at loopback addresses, an API server, an STS and a node's service behind it."""

from __future__ import annotations

import http.client
from pathlib import Path

from integration.imds_server import instance
from integration.test_agent_pods import A, cluster
from integration.test_agent_process import agent

__all__ = ["cluster"]
ROLES = "/latest/meta-data/iam/security-credentials/"
BASE = "arn:aws:iam::123456789012:role/"
QUIET = ("--probe-port", "0", "--metrics-port", "0", "--imds-bind-hosts", "127.0.0.1", "--imds-port", "0")


def ask(door: str, path: str, address: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Return status and body of what whoever is at this address is answered."""
    host, _, port = door.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20, source_address=(address, 0))
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_deny_alone(tmp_path: Path) -> None:
    """No cluster, no region, no credentials: it serves, gives nobody a role, and passes the node's region on."""
    with instance() as node:
        env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": node.url}
        with agent(tmp_path, *QUIET, "--dialect", "deny", env=env) as started:
            door = started.door()
            assert ask(door, ROLES, A)[0] == 404
            assert ask(door, "/latest/user-data", A)[0] == 404
            assert ask(door, "/latest/meta-data/placement/region", A) == (200, b"us-west-2")
            assert {path for _, path in node.asked} == {"/latest/api/token", "/latest/meta-data/placement/region"}

"""Unmodified SDKs in a pod get its role at EC2's own address, by IMDSv2 and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.dev_plane import wait_until
from sdks import installed
from sdks.conftest import Node, Program
from sdks.namespace import IMDS, NODE_SIDE, POD_SIDE, new_pod
from sdks.street import key_of
from sdks.sts import PORT
from sdks.table import SDKS

pytestmark = pytest.mark.timeout(900)  # the first run builds the clients
TESTS = Path(__file__).parents[1]
COMMANDS = {name: sdk.command for name, sdk in SDKS.items()} | {"aws-cli": installed.python("cli.py")}
each = pytest.mark.parametrize("name", COMMANDS)
# A role with a path: the SDKs put what the listing says into a URL.
ROLE, ACCOUNT = "team/carts", "123456789012"


@dataclass
class Street:
    """The node, and a pod with a network of its own."""

    node: Node
    pod: Node

    def client(self, where: Node, name: str) -> Program:
        """Start an SDK that is told nothing: its default chain ends at the metadata service."""
        region = {"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2"}  # the older name is the CLI's
        sts = {"AWS_ENDPOINT_URL_STS": f"http://{NODE_SIDE}:{PORT}"}
        return where.started(name, COMMANDS[name](), region | sts)


@pytest.fixture(scope="module")
def street(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """The agent in metadataproxy's place, at 169.254.169.254; by its table the pod's address has a role."""
    directory = tmp_path_factory.mktemp("metadata")
    table = directory / "table.json"
    table.write_text(json.dumps({POD_SIDE: ROLE}))
    with new_pod(node.namespace) as namespace, ExitStack() as stack:
        street = Street(*(Node(one, node.street, directory, stack) for one in (node.namespace, namespace)))
        sts = street.node.started("sts", [sys.executable, "-m", "sdks.sts"], {"PYTHONPATH": str(TESTS)})
        assert sts.answer() == "serving"
        variables = {
            "AWS_ACCESS_KEY_ID": "AKIANODE",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-west-2",
            "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{PORT}",
            "HOST": IMDS,
            "PORT": "80",
            "DEFAULT_ACCOUNT_ID": ACCOUNT,
            "ROLE_MAPPING_FILE": str(table),
        }
        flags = ["--imds-version", "required", "--metrics-port", "0", "--probe-port", "0"]
        agent = street.node.started("agent", ["metadataproxy", *flags], variables)

        def serving() -> bool:
            assert agent.process.poll() is None, agent.complaints.read_text()
            return "agent.serving" in agent.complaints.read_text()

        wait_until(serving, "the agent to serve")
        yield street


@each
def test_it_gets_the_pods_role(street: Street, name: str) -> None:
    """Version 1 is shut out here, so a session token was asked for and shown."""
    assert street.client(street.pod, name).ask("load") == {"key": key_of(f"arn:aws:iam::{ACCOUNT}:role/{ROLE}")}


@each
def test_it_gets_nothing_where_no_pod_is(street: Street, name: str) -> None:
    """The node itself is nobody: the chain ends with the SDK's own error, and soon."""
    assert street.client(street.node, name).ask("load").keys() == {"error"}

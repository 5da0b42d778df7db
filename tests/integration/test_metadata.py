"""The plane's metadata services, asked by unmodified clients: the node's own, and what a proxy makes of it."""

from __future__ import annotations

import json
import sys

from integration.dev_plane import DevPlane

NODE = "assumed-role/rolecall-node/i-0"
WHO = """
import boto3, json
found = boto3.Session().get_credentials()
print(json.dumps([found.method, boto3.client("sts").get_caller_identity()["Arn"]]))
"""


def test_any_pod_is_the_node(stage: DevPlane) -> None:
    """Two pods that have nothing in common have the same role; the AWS CLI and boto3 find it by themselves, loudly."""
    first = stage.run_as("demo-ns", "demo-sa", "--via", "host-role", "--", sys.executable, "-c", WHO)
    assert first.returncode == 0, first.stderr
    method, arn = json.loads(first.stdout)
    assert (method, NODE in arn) == ("iam-role", True)
    assert "any pod is the node" in first.stderr
    second = stage.run_as("other", "nobody", "--via", "host-role", "--", "aws", "sts", "get-caller-identity")
    assert json.loads(second.stdout)["Arn"] == arn
    third = stage.run_as("other", "nobody", "--via", "host-role", "--", "aws", "iam", "list-users")
    assert "not authorized to perform: iam:ListUsers" in third.stderr


def test_a_sourced_shell_knows_the_metadata_service(stage: DevPlane) -> None:
    """Without a profile and a key, an AWS client in it is the node; no other has the port."""
    environment = {name: value for name, value in stage.environment.items() if name != "AWS_PROFILE"}
    environment["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"
    done = stage.shell("aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text", env=environment)
    assert NODE in done.stdout, done.stderr
    found = stage.shell("sh", "-c", 'curl -s "$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/meta-data/placement/region"')
    assert found.stdout == "us-west-2"

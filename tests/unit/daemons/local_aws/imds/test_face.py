"""The node's metadata service: EC2's paths, EC2's documents, and credentials that the plane's STS has made."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Keys, Plane
from rolecall.core.exchange import Reply, Request
from rolecall.daemons.local_aws.schema import MIGRATIONS

HOST = ("host", "127.0.0.1:4502")
ROLES = "/latest/meta-data/iam/security-credentials/"
ROLE = "rolecall-node"
LIFE = 21_600


def ask(plane: Plane, path: str, *headers: tuple[str, str], method: str = "GET") -> Reply:
    """Ask the service from loopback."""
    reply: Reply = plane.run(plane.imds.answer(Request(method, path, (HOST, *headers), peer="127.0.0.1")))
    return reply


def text(plane: Plane, path: str) -> str:
    """Return what a path holds."""
    reply = ask(plane, path)
    assert reply.status == 200, reply
    return reply.body.decode()


def credentials(plane: Plane) -> dict[str, Any]:
    """Return the document of the role's credentials."""
    found: dict[str, Any] = json.loads(text(plane, ROLES + ROLE))
    return found


def test_it_says_what_the_instance_is(plane: Plane) -> None:
    """The identity document has the members that EC2's has, and agrees with the single documents."""
    document = json.loads(text(plane, "/latest/dynamic/instance-identity/document"))
    assert list(document) == [
        "accountId", "architecture", "availabilityZone", "billingProducts", "devpayProductCodes",
        "marketplaceProductCodes", "imageId", "instanceId", "instanceType", "kernelId", "pendingTime", "privateIp",
        "ramdiskId", "region", "version",
    ]  # fmt: skip
    assert (document["accountId"], document["region"], document["version"]) == (ACCOUNT, "us-west-2", "2017-09-30")
    for name, member in (
        ("instance-id", "instanceId"), ("instance-type", "instanceType"), ("ami-id", "imageId"),
        ("local-ipv4", "privateIp"), ("placement/region", "region"),
        ("placement/availability-zone", "availabilityZone"),
    ):  # fmt: skip
        assert text(plane, f"/latest/meta-data/{name}") == document[member]
    assert text(plane, "/2021-03-23/meta-data/placement/region") == "us-west-2"
    assert {"iam/", "instance-id", "placement/"} <= set(text(plane, "/latest/meta-data/").split("\n"))
    assert text(plane, "/latest/meta-data/iam/") == "info\nsecurity-credentials/"


def test_it_gives_the_nodes_role_to_whoever_asks(plane: Plane) -> None:
    """The session is one of STS's, under the instance's id; it may do what the role may, and no more."""
    assert text(plane, ROLES) == text(plane, ROLES.rstrip("/")) == ROLE
    found = credentials(plane)
    assert (found["Code"], found["Type"]) == ("Success", "AWS-HMAC")
    keys = Keys.of({
        "AccessKeyId": found["AccessKeyId"], "SecretAccessKey": found["SecretAccessKey"], "SessionToken": found["Token"]
    })  # fmt: skip
    instance = text(plane, "/latest/meta-data/instance-id")
    who = plane.client("sts", keys).get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{instance}"
    with pytest.raises(ClientError, match="iam:ListUsers"):
        plane.client("iam", keys).list_users()
    info = json.loads(text(plane, "/latest/meta-data/iam/info"))
    assert info["InstanceProfileArn"] == f"arn:aws:iam::{ACCOUNT}:instance-profile/{ROLE}"


def test_new_credentials_are_there_well_before_the_old_ones_end(plane: Plane) -> None:
    """EC2's last six hours; the same ones are shown for an hour, and never any that are nearly over."""
    first = credentials(plane)
    plane.advance(3599)
    assert credentials(plane) == first
    plane.advance(2)
    second = credentials(plane)
    assert second["AccessKeyId"] != first["AccessKeyId"]
    assert second["LastUpdated"] > first["LastUpdated"]


def test_short_sessions_are_renewed_at_half_of_their_life(tmp_path: Path) -> None:
    """``--max-session-seconds`` holds for the node's as well."""
    with Plane.open(tmp_path, max_session_seconds=30) as plane:
        first = credentials(plane)
        plane.advance(14)
        assert credentials(plane) == first
        plane.advance(2)
        assert credentials(plane)["AccessKeyId"] != first["AccessKeyId"]


def test_tokens_are_ec2s(plane: Plane) -> None:
    """Given by PUT and for nobody in between; a token that is none is refused, where none at all is not."""
    ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60")
    given = ask(plane, "/latest/api/token", ttl, method="PUT")
    token = ("x-aws-ec2-metadata-token", given.body.decode())
    assert ask(plane, ROLES, token).body == ROLE.encode()
    assert ask(plane, ROLES, (token[0], "x" * 56)).status == 401
    assert ask(plane, "/latest/api/token", ttl, ("x-forwarded-for", "1.2.3.4"), method="PUT").status == 403
    plane.advance(61)
    assert ask(plane, ROLES, token).status == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{ROLES}other", 404), (f"{ROLES}{ROLE.upper()}", 404), ("/latest/user-data", 404),
        ("/latest//meta-data/", 400),
        ("/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance", 404),
        ("/latest/dynamic/instance-identity/signature", 404),
    ],
)  # fmt: skip
def test_there_is_nothing_else(plane: Plane, path: str, status: int) -> None:
    """Another role's name, what is not served here, and a path that only looks like one."""
    assert ask(plane, path).status == status


def test_a_page_of_the_web_is_not_answered(plane: Plane) -> None:
    """A browser that was led here by DNS sends the page's own name."""
    reply: Reply = plane.run(plane.imds.answer(Request("GET", ROLES, (("host", "evil.example:4502"),))))
    assert reply.status == 403


def test_the_role_is_as_any_other(plane: Plane) -> None:
    """A trust policy that does not admit EC2: its own words in the document. Deleted: an instance without a role."""
    iam = plane.client("iam")
    trust = (
        '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"%s"},"Action":"sts:AssumeRole"}}'
    )
    iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust % "lambda.amazonaws.com")
    assert credentials(plane)["Code"] == "AssumeRoleUnauthorizedAccess"
    iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust % "ec2.amazonaws.com")
    assert credentials(plane)["Code"] == "Success"
    instance = text(plane, "/latest/meta-data/instance-id")
    iam.delete_role_policy(RoleName=ROLE, PolicyName="worker-node")
    iam.delete_role(RoleName=ROLE)
    for _ in range(2):
        assert [ask(plane, path).status for path in (ROLES, ROLES + ROLE, "/latest/meta-data/iam/info")] == [404] * 3
        assert text(plane, "/latest/meta-data/instance-id") == instance
        plane.restart()


def test_a_state_from_before_gets_an_instance(tmp_path: Path) -> None:
    """A role that somebody has made under the node's name is theirs, and stays as it is."""
    with Plane.open(tmp_path) as plane:
        made = plane.client("iam").get_role(RoleName=ROLE)["Role"]["RoleId"]
    with sqlite3.connect(tmp_path / "plane.sqlite") as database:
        database.execute("DELETE FROM plane WHERE key LIKE 'instance%'")
        assert database.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    with Plane.open(tmp_path) as plane:
        assert plane.client("iam").get_role(RoleName=ROLE)["Role"]["RoleId"] == made
        assert credentials(plane)["Code"] == "Success"

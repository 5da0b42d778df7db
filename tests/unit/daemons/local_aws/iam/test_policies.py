"""Managed and inline policies, asked by unmodified botocore (IAM API Reference, "IAM and AWS STS quotas")."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Keys, Plane

ARN = f"arn:aws:iam::{ACCOUNT}:policy/team/carts"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/admin"},
            "Action": "sts:AssumeRole",
        },
    }
)


def allowing(action: str, pad: int = 0) -> dict[str, Any]:
    statement = {"Sid": "x" * pad, "Effect": "Allow", "Action": action, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def text_of(length: int) -> str:
    """Return a document of exactly `length` counted characters."""
    bare = len(json.dumps(allowing("s3:Get*"), separators=(",", ":")))
    return json.dumps(allowing("s3:Get*", length - bare), indent=2)


def make(plane: Plane, **more: Any) -> dict[str, Any]:
    wanted = {"PolicyName": "carts", "Path": "/team/", "PolicyDocument": json.dumps(allowing("iam:GetRole"))} | more
    policy: dict[str, Any] = plane.client("iam").create_policy(**wanted)["Policy"]
    return policy


def refusal(plane: Plane, operation: str, **params: Any) -> tuple[str, int]:
    before = plane.tables()
    with pytest.raises(ClientError) as caught:
        getattr(plane.client("iam", validate=False), operation)(**params)
    assert plane.tables() == before
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def test_the_life_of_a_policy(plane: Plane) -> None:
    """Five versions, one of them in force; numbers are never used again; then it can be deleted."""
    made = make(plane, Description="for carts")
    assert (made["Arn"], made["DefaultVersionId"], made["AttachmentCount"]) == (ARN, "v1", 0)
    assert made["PolicyId"].startswith("ANPA")
    iam = plane.client("iam")
    for number in range(2, 6):
        document = json.dumps(allowing(f"s3:Get{number}"))
        version = iam.create_policy_version(PolicyArn=ARN, PolicyDocument=document, SetAsDefault=number == 3)
        assert version["PolicyVersion"]["VersionId"] == f"v{number}"
        assert version["PolicyVersion"]["IsDefaultVersion"] is (number == 3)
    assert iam.get_policy(PolicyArn=ARN)["Policy"]["DefaultVersionId"] == "v3"
    assert iam.get_policy(PolicyArn=ARN)["Policy"]["Description"] == "for carts"
    found = iam.get_policy_version(PolicyArn=ARN, VersionId="v3")["PolicyVersion"]
    assert found["Document"] == allowing("s3:Get3")
    assert refusal(plane, "create_policy_version", PolicyArn=ARN, PolicyDocument=json.dumps(allowing("s3:*"))) == (
        "LimitExceeded",
        409,
    )
    assert refusal(plane, "delete_policy_version", PolicyArn=ARN, VersionId="v3") == ("DeleteConflict", 409)
    assert refusal(plane, "delete_policy", PolicyArn=ARN) == ("DeleteConflict", 409)
    iam.set_default_policy_version(PolicyArn=ARN, VersionId="v1")
    iam.delete_policy_version(PolicyArn=ARN, VersionId="v5")
    again = iam.create_policy_version(PolicyArn=ARN, PolicyDocument=json.dumps(allowing("s3:*")))
    assert again["PolicyVersion"]["VersionId"] == "v6"
    listed = iam.list_policy_versions(PolicyArn=ARN)["Versions"]
    assert [(one["VersionId"], one["IsDefaultVersion"]) for one in listed] == [
        ("v6", False),
        ("v4", False),
        ("v3", False),
        ("v2", False),
        ("v1", True),
    ]
    for number in (2, 3, 4, 6):
        iam.delete_policy_version(PolicyArn=ARN, VersionId=f"v{number}")
    iam.delete_policy(PolicyArn=ARN)
    assert refusal(plane, "get_policy", PolicyArn=ARN) == ("NoSuchEntity", 404)


def test_lists(plane: Plane) -> None:
    """By scope, by path, by use; in pages."""
    make(plane)
    for number in range(4):
        make(plane, PolicyName=f"p{number}", Path="/")
    iam = plane.client("iam")

    def names(**query: Any) -> list[str]:
        pages = iam.get_paginator("list_policies").paginate(**query, PaginationConfig={"PageSize": 2})
        return [policy["PolicyName"] for page in pages for policy in page["Policies"]]

    assert names(Scope="Local") == ["carts", "p0", "p1", "p2", "p3"]
    assert names(Scope="AWS") == ["AdministratorAccess"]
    assert names(PathPrefix="/team/") == ["carts"]
    assert names(OnlyAttached=True) == ["AdministratorAccess"]
    assert names(PolicyUsageFilter="PermissionsBoundary") == []
    assert len(names()) == 6


def test_what_is_attached_is_in_force(plane: Plane) -> None:
    """A session may do what an attached policy allows, from attach to detach, by the version in force."""
    make(plane)
    iam = plane.client("iam")
    role = iam.create_role(RoleName="carts", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    keys = Keys.of(plane.client("sts").assume_role(RoleArn=role, RoleSessionName="tester")["Credentials"])
    pod = plane.client("iam", keys)

    def may() -> bool:
        try:
            pod.get_role(RoleName="carts")
        except pod.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
            return False
        return True

    assert not may()
    iam.attach_role_policy(RoleName="carts", PolicyArn=ARN)
    iam.attach_role_policy(RoleName="carts", PolicyArn=ARN)
    assert may()
    assert iam.list_attached_role_policies(RoleName="carts")["AttachedPolicies"] == [
        {"PolicyName": "carts", "PolicyArn": ARN}
    ]
    assert iam.list_attached_role_policies(RoleName="carts", PathPrefix="/x/")["AttachedPolicies"] == []
    assert refusal(plane, "delete_policy", PolicyArn=ARN) == ("DeleteConflict", 409)
    iam.create_policy_version(PolicyArn=ARN, PolicyDocument=json.dumps(allowing("s3:*")), SetAsDefault=True)
    assert not may()
    iam.set_default_policy_version(PolicyArn=ARN, VersionId="v1")
    assert may()
    iam.detach_role_policy(RoleName="carts", PolicyArn=ARN)
    assert not may()
    assert refusal(plane, "detach_role_policy", RoleName="carts", PolicyArn=ARN) == ("NoSuchEntity", 404)


def test_inline_policies(plane: Plane) -> None:
    """Put, put again, get, list, delete; together at most 10,240 characters a role."""
    iam = plane.client("iam")
    iam.create_role(RoleName="carts", AssumeRolePolicyDocument=TRUST)
    iam.put_role_policy(RoleName="carts", PolicyName="one", PolicyDocument=json.dumps(allowing("s3:Put*")))
    iam.put_role_policy(RoleName="carts", PolicyName="one", PolicyDocument=text_of(6000))
    iam.put_role_policy(RoleName="carts", PolicyName="two", PolicyDocument=text_of(4240))
    assert iam.get_role_policy(RoleName="carts", PolicyName="one")["PolicyDocument"] == json.loads(text_of(6000))
    assert iam.list_role_policies(RoleName="carts")["PolicyNames"] == ["one", "two"]
    assert iam.list_role_policies(RoleName="carts", MaxItems=1)["IsTruncated"] is True
    full = {"RoleName": "carts", "PolicyName": "two", "PolicyDocument": text_of(4241)}
    assert refusal(plane, "put_role_policy", **full) == ("LimitExceeded", 409)
    iam.delete_role_policy(RoleName="carts", PolicyName="one")
    assert refusal(plane, "get_role_policy", RoleName="carts", PolicyName="one") == ("NoSuchEntity", 404)
    assert refusal(plane, "delete_role_policy", RoleName="carts", PolicyName="one") == ("NoSuchEntity", 404)


def test_sizes(plane: Plane) -> None:
    """A managed policy holds 6,144 characters, white space not counted; ten can be attached to a role."""
    make(plane, PolicyDocument=text_of(6144))
    full = {"PolicyName": "more", "PolicyDocument": text_of(6145)}
    assert refusal(plane, "create_policy", **full) == ("LimitExceeded", 409)
    iam = plane.client("iam")
    iam.create_role(RoleName="carts", AssumeRolePolicyDocument=TRUST)
    for number in range(10):
        arn = make(plane, PolicyName=f"p{number}")["Arn"]
        iam.attach_role_policy(RoleName="carts", PolicyArn=arn)
    assert refusal(plane, "attach_role_policy", RoleName="carts", PolicyArn=ARN) == ("LimitExceeded", 409)


BAD_DOCUMENT = json.dumps(allowing("s3:*") | {"Statement": [{"Effect": "Allow", "Action": "s3:*"}]})
REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, int]]] = {
    "the same name": (
        "create_policy",
        {"PolicyName": "Carts", "PolicyDocument": json.dumps(allowing("s3:*"))},
        ("EntityAlreadyExists", 409),
    ),
    "no resource": (
        "create_policy",
        {"PolicyName": "new", "PolicyDocument": BAD_DOCUMENT},
        ("MalformedPolicyDocument", 400),
    ),
    "a version without resource": (
        "create_policy_version",
        {"PolicyArn": ARN, "PolicyDocument": BAD_DOCUMENT},
        ("MalformedPolicyDocument", 400),
    ),
    "no such version": ("get_policy_version", {"PolicyArn": ARN, "VersionId": "v2"}, ("NoSuchEntity", 404)),
    "a version with more behind it": (
        "get_policy_version",
        {"PolicyArn": ARN, "VersionId": "v1.x"},
        ("NoSuchEntity", 404),
    ),
    "no version at all": ("get_policy_version", {"PolicyArn": ARN, "VersionId": "latest"}, ("ValidationError", 400)),
    "no such policy": ("get_policy", {"PolicyArn": ARN + "x"}, ("NoSuchEntity", 404)),
    "AWS's own, deleted": ("delete_policy", {"PolicyArn": ADMINISTRATOR}, ("AccessDenied", 403)),
    "AWS's own, changed": (
        "create_policy_version",
        {"PolicyArn": ADMINISTRATOR, "PolicyDocument": json.dumps(allowing("s3:*")), "SetAsDefault": True},
        ("AccessDenied", 403),
    ),
    "no such role": ("attach_role_policy", {"RoleName": "absent", "PolicyArn": ARN}, ("NoSuchEntity", 404)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(plane: Plane, case: str) -> None:
    """IAM's code and status, and nothing is written."""
    make(plane)
    operation, params, expected = REFUSED[case]
    assert refusal(plane, operation, **params) == expected


def test_names_of_awss_own_policies_are_free(plane: Plane) -> None:
    """They are another account's: an account may have an AdministratorAccess of its own, beside AWS's."""
    made = make(plane, PolicyName="AdministratorAccess", Path="/")
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:policy/AdministratorAccess"
    assert plane.client("iam").get_policy(PolicyArn=ADMINISTRATOR)["Policy"]["Arn"] == ADMINISTRATOR
    again = {"PolicyName": "AdministratorAccess", "Path": "/x/", "PolicyDocument": json.dumps(allowing("s3:*"))}
    assert refusal(plane, "create_policy", **again) == ("EntityAlreadyExists", 409)


def test_a_malformed_document_names_its_path(plane: Plane) -> None:
    """The message says where in the document the fault is."""
    with pytest.raises(ClientError) as caught:
        plane.client("iam").create_policy(PolicyName="new", PolicyDocument=BAD_DOCUMENT)
    assert "$.Statement[0]" in caught.value.response["Error"]["Message"]

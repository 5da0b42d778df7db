"""Roles in IAM, asked by unmodified botocore (IAM API Reference; quotas: "IAM and AWS STS quotas")."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Keys, Plane

TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/admin"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }
    ],
}


def make(plane: Plane, name: str, **more: Any) -> dict[str, Any]:
    wanted = {"RoleName": name, "AssumeRolePolicyDocument": json.dumps(TRUST)} | more
    role: dict[str, Any] = plane.client("iam").create_role(**wanted)["Role"]
    return role


def refusal(plane: Plane, operation: str, **params: Any) -> tuple[str, int, str]:
    """Return code, status and message, and see to it that nothing was written."""
    before = plane.tables()
    with pytest.raises(ClientError) as caught:
        getattr(plane.client("iam", validate=False), operation)(**params)
    assert plane.tables() == before
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]


def test_a_role_is_kept_as_it_was_given(plane: Plane) -> None:
    """Create, get and list show the same role; its document comes back as it went in, percent-encoded on the wire."""
    given = json.dumps(TRUST, indent=3)
    made = make(
        plane,
        "carts",
        AssumeRolePolicyDocument=given,
        Path="/team/x/",
        Description="for carts & <friends>",
        MaxSessionDuration=7200,
        Tags=[{"Key": "Owner", "Value": "käthe"}],
    )
    plane.restart()
    found = plane.client("iam").get_role(RoleName="carts")["Role"]
    (listed,) = plane.client("iam").list_roles(PathPrefix="/team/")["Roles"]
    assert made["Arn"] == found["Arn"] == listed["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/team/x/carts"
    assert made["RoleId"].startswith("AROA")
    assert made["CreateDate"].timestamp() == int(plane.clock.now())
    assert found["AssumeRolePolicyDocument"] == TRUST  # botocore decodes the percent-encoding, then the JSON
    assert (found["Description"], found["MaxSessionDuration"]) == ("for carts & <friends>", 7200)
    assert found["Tags"] == made["Tags"] == [{"Key": "Owner", "Value": "käthe"}]
    assert "Tags" not in listed
    assert plane.client("iam").list_roles(PathPrefix="/other/")["Roles"] == []


def test_documents_travel_percent_encoded(plane: Plane) -> None:
    """The XML holds RFC 3986 text: clients that do not decode would see exactly this."""
    make(plane, "carts")
    body = b"Action=GetRole&Version=2010-05-08&RoleName=carts"
    request = plane.signed(
        "POST", "/", body, service="iam", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert b"<AssumeRolePolicyDocument>%7B%22Version%22%3A%20%222012-10-17%22" in plane.call(request).body


def test_pages(plane: Plane) -> None:
    """MaxItems cuts, Marker goes on, and botocore's paginator sees every role once."""
    names = [f"role{number:02}" for number in range(6)] + ["rolecall-node"]  # the node's, there from the start
    for name in reversed(names[:6]):
        make(plane, name)
    iam = plane.client("iam")
    first = iam.list_roles(MaxItems=3)
    assert [role["RoleName"] for role in first["Roles"]] == names[:3]
    assert first["IsTruncated"] is True
    second = iam.list_roles(MaxItems=3, Marker=first["Marker"])
    assert [role["RoleName"] for role in second["Roles"]] == names[3:6]
    pages = iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 2})
    assert [role["RoleName"] for page in pages for role in page["Roles"]] == names
    assert iam.list_roles(MaxItems=7)["IsTruncated"] is False
    assert refusal(plane, "list_roles", Marker="x")[:2] == ("ValidationError", 400)


def test_changes(plane: Plane) -> None:
    """Trust, duration, description and tags can be changed; the rest stays."""
    made = make(plane, "carts")
    iam = plane.client("iam")
    other = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Sid": "Other"}]}
    iam.update_assume_role_policy(RoleName="carts", PolicyDocument=json.dumps(other))
    iam.update_role(RoleName="carts", MaxSessionDuration=43200, Description="longer")
    iam.tag_role(RoleName="carts", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.tag_role(RoleName="carts", Tags=[{"Key": "A", "Value": "3"}])
    iam.untag_role(RoleName="carts", TagKeys=["b", "absent"])
    found = iam.get_role(RoleName="carts")["Role"]
    assert found["AssumeRolePolicyDocument"] == other
    assert (found["MaxSessionDuration"], found["Description"]) == (43200, "longer")
    assert found["RoleId"] == made["RoleId"]
    assert iam.list_role_tags(RoleName="carts")["Tags"] == [{"Key": "A", "Value": "3"}]


def test_a_longer_maximum_counts_at_once(plane: Plane) -> None:
    """UpdateRole's MaxSessionDuration is what STS compares with."""
    make(plane, "carts")
    wanted = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/carts", "RoleSessionName": "tester", "DurationSeconds": 7200}
    with pytest.raises(ClientError, match="MaxSessionDuration"):
        plane.client("sts").assume_role(**wanted)
    plane.client("iam").update_role(RoleName="carts", MaxSessionDuration=7200)
    assert plane.client("sts").assume_role(**wanted)["Credentials"]


def test_a_role_that_holds_policies_cannot_be_deleted(plane: Plane) -> None:
    """DeleteConflict 409 for attached and for inline policies, in AWS's sentences; then it goes."""
    make(plane, "carts")
    iam = plane.client("iam")
    admin = "arn:aws:iam::aws:policy/AdministratorAccess"
    iam.attach_role_policy(RoleName="carts", PolicyArn=admin)
    assert refusal(plane, "delete_role", RoleName="carts") == (
        "DeleteConflict",
        409,
        "Cannot delete entity, must detach all policies first.",
    )
    iam.detach_role_policy(RoleName="carts", PolicyArn=admin)
    document = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}'
    iam.put_role_policy(RoleName="carts", PolicyName="p", PolicyDocument=document)
    assert refusal(plane, "delete_role", RoleName="carts") == (
        "DeleteConflict",
        409,
        "Cannot delete entity, must delete policies first.",
    )
    iam.delete_role_policy(RoleName="carts", PolicyName="p")
    iam.delete_role(RoleName="carts")
    assert refusal(plane, "get_role", RoleName="carts") == (
        "NoSuchEntity",
        404,
        "The role with name carts cannot be found.",
    )


def padded(length: int) -> str:
    """Return a trust policy of exactly `length` characters that count: white space does not."""
    statement = {**TRUST["Statement"][0], "Condition": {"StringEquals": {"sts:ExternalId": ""}}}
    bare = json.dumps({**TRUST, "Statement": [statement]}, separators=(",", ":"))
    document = json.loads(bare)
    document["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"] = "x" * (length - len(bare))
    return json.dumps(document, indent=4)


def test_the_quota_of_a_trust_policy(plane: Plane) -> None:
    """2,048 characters fit, white space not counted; one more is LimitExceeded 409."""
    make(plane, "carts", AssumeRolePolicyDocument=padded(2048))
    full = ("LimitExceeded", 409, "Cannot exceed quota for ACLSizePerRole: 2048")
    assert refusal(plane, "create_role", RoleName="more", AssumeRolePolicyDocument=padded(2049)) == full
    assert refusal(plane, "update_assume_role_policy", RoleName="carts", PolicyDocument=padded(2049)) == full


def test_the_quota_can_be_raised(tmp_path: Path) -> None:
    """As AWS raises it on request, up to 8,192."""
    with Plane.open(tmp_path, trust_policy_quota=8192) as plane:
        make(plane, "carts", AssumeRolePolicyDocument=padded(8192))
        found = refusal(plane, "create_role", RoleName="more", AssumeRolePolicyDocument=padded(8193))
        assert found == ("LimitExceeded", 409, "Cannot exceed quota for ACLSizePerRole: 8192")


def changed(**changes: Any) -> str:
    return json.dumps({**TRUST, "Statement": [{**TRUST["Statement"][0], **changes}]})


MALFORMED: dict[str, tuple[str, str]] = {
    "not JSON": ("{", ""),
    "a list": ("[]", "$"),
    "effect": (changed(Effect="Permit"), "$.Statement[0].Effect"),
    "a resource": (changed(Resource="*"), "$.Statement[0].Resource"),
    "another service's action": (changed(Action=["s3:GetObject"]), "$.Statement[0].Action"),
    "an unknown operator": (changed(Condition={"StringAlmost": {"aws:userid": "x"}}), "StringAlmost"),
    "an unknown element": (changed(Reason="because"), "$.Statement[0].Reason"),
    "a user that does not exist": (changed(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/x"}), "Invalid principal"),
    "a role that does not exist": (changed(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/x"}), "Invalid principal"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_trust_policies(plane: Plane, case: str) -> None:
    """MalformedPolicyDocument 400, naming the place, at creation and at the update alike."""
    make(plane, "carts")
    document, place = MALFORMED[case]
    for operation, params in (
        ("create_role", {"RoleName": "new", "AssumeRolePolicyDocument": document}),
        ("update_assume_role_policy", {"RoleName": "carts", "PolicyDocument": document}),
    ):
        code, status, message = refusal(plane, operation, **params)
        assert (code, status) == ("MalformedPolicyDocument", 400)
        assert place in message


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, int]]] = {
    "the same name": ("create_role", {"RoleName": "CARTS"}, ("EntityAlreadyExists", 409)),
    "an illegal name": ("create_role", {"RoleName": "a/b"}, ("ValidationError", 400)),
    "a long name": ("create_role", {"RoleName": "a" * 65}, ("ValidationError", 400)),
    "an illegal path": ("create_role", {"RoleName": "new", "Path": "team"}, ("ValidationError", 400)),
    "an empty part of a path": ("create_role", {"RoleName": "new", "Path": "/a//b/"}, ("ValidationError", 400)),
    "too short": ("create_role", {"RoleName": "new", "MaxSessionDuration": 3599}, ("ValidationError", 400)),
    "too long": ("create_role", {"RoleName": "new", "MaxSessionDuration": 43201}, ("ValidationError", 400)),
    "a boundary": (
        "create_role",
        {"RoleName": "new", "PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"},
        ("InvalidInput", 400),
    ),
    "tags that differ by case": (
        "create_role",
        {"RoleName": "new", "Tags": [{"Key": "a", "Value": ""}, {"Key": "A", "Value": ""}]},
        ("InvalidInput", 400),
    ),
    "AWS's own tag": (
        "tag_role",
        {"RoleName": "carts", "Tags": [{"Key": "aws:x", "Value": ""}]},
        ("InvalidInput", 400),
    ),
    "too many tags": (
        "tag_role",
        {"RoleName": "carts", "Tags": [{"Key": f"k{number}", "Value": ""} for number in range(51)]},
        ("ValidationError", 400),
    ),
    "no such role": ("update_role", {"RoleName": "absent"}, ("NoSuchEntity", 404)),
    "no such role's tags": ("list_role_tags", {"RoleName": "absent"}, ("NoSuchEntity", 404)),
    "no name": ("get_role", {}, ("ValidationError", 400)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(plane: Plane, case: str) -> None:
    """IAM's code and status, and nothing is written."""
    make(plane, "carts")
    operation, params, expected = REFUSED[case]
    if operation == "create_role":
        params = {"AssumeRolePolicyDocument": json.dumps(TRUST)} | params
    assert refusal(plane, operation, **params)[:2] == expected


def test_tags_together_stay_within_fifty(plane: Plane) -> None:
    """Two calls of thirty tags each: the second is LimitExceeded."""
    make(plane, "carts", Tags=[{"Key": f"a{number}", "Value": ""} for number in range(30)])
    more = [{"Key": f"b{number}", "Value": ""} for number in range(30)]
    assert refusal(plane, "tag_role", RoleName="carts", Tags=more)[:2] == ("LimitExceeded", 409)


def session_with(plane: Plane, resource: str, path: str = "/team/x/") -> Keys:
    """Return the keys of a role with a path, whose one policy allows reading `resource`."""
    make(plane, "carts", Path=path)
    make(plane, "other", Path=path)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["iam:GetRole", "iam:TagRole"], "Resource": resource}],
    }
    plane.client("iam").put_role_policy(RoleName="carts", PolicyName="own", PolicyDocument=json.dumps(policy))
    answer = plane.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role{path}carts", RoleSessionName="tester"
    )
    return Keys.of(answer["Credentials"])


def test_a_role_may_read_itself_and_no_other(plane: Plane) -> None:
    """A policy on the ARN of a role with a path matches that role: its own ARN counts, not one without the path."""
    iam = plane.client("iam", session_with(plane, f"arn:aws:iam::{ACCOUNT}:role/team/x/carts"))
    assert iam.get_role(RoleName="carts")["Role"]["Path"] == "/team/x/"
    for name, operation in (("other", "GetRole"), ("absent", "GetRole"), ("carts", "DeleteRole")):
        with pytest.raises(ClientError) as caught:
            getattr(iam, "get_role" if operation == "GetRole" else "delete_role")(RoleName=name)
        assert caught.value.response["Error"]["Message"] == (
            f"User: arn:aws:sts::{ACCOUNT}:assumed-role/carts/tester is not authorized to perform: iam:{operation} on "
            f"resource: role {name} because no identity-based policy allows the iam:{operation} action"
        )


def test_an_arn_without_the_path_is_another_role(plane: Plane) -> None:
    """A policy on ``role/carts`` says nothing about ``role/team/x/carts``."""
    iam = plane.client("iam", session_with(plane, f"arn:aws:iam::{ACCOUNT}:role/carts"))
    with pytest.raises(ClientError, match="AccessDenied"):
        iam.get_role(RoleName="carts")


def test_an_explicit_deny_wins_and_says_so(plane: Plane) -> None:
    """Deny beats Allow, and AWS's sentence names it."""
    keys = session_with(plane, "*")
    deny = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:Get*","Resource":"*"}]}'
    plane.client("iam").put_role_policy(RoleName="carts", PolicyName="no", PolicyDocument=deny)
    with pytest.raises(ClientError) as caught:
        plane.client("iam", keys).get_role(RoleName="carts")
    assert caught.value.response["Error"]["Message"].endswith(
        "iam:GetRole on resource: role carts with an explicit deny in an identity-based policy"
    )


IAM_ARN = f"arn:aws:iam::{ACCOUNT}:"
DOCUMENT = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}'
WORDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "CreateRole": ("create_role", {"AssumeRolePolicyDocument": json.dumps(TRUST)}, f"{IAM_ARN}role/carts"),
    "AttachRolePolicy": ("attach_role_policy", {"PolicyArn": f"{IAM_ARN}policy/p"}, "role carts"),
    "ListRoles": ("list_roles", {}, f"{IAM_ARN}role/"),
    "CreatePolicy": ("create_policy", {"PolicyName": "p", "PolicyDocument": DOCUMENT}, "policy p"),
    "GetPolicy": ("get_policy", {"PolicyArn": f"{IAM_ARN}policy/p"}, f"policy {IAM_ARN}policy/p"),
    "ListPolicies": ("list_policies", {}, "policy path /"),
    "ListUsers": ("list_users", {}, f"{IAM_ARN}user/"),
    "CreateAccessKey": ("create_access_key", {"UserName": "admin"}, "user admin"),
    "ListOpenIDConnectProviders": ("list_open_id_connect_providers", {}, f"{IAM_ARN}oidc-provider/*"),
}


@pytest.mark.parametrize("action", WORDS)
def test_the_node_key_may_not_use_iam(plane: Plane, action: str) -> None:
    """What the agent signs with may call EKS Auth only; IAM names each resource in its own way, as seen at AWS."""
    operation, params, words = WORDS[action]
    if "role" in operation and not operation.startswith("list"):
        params = {"RoleName": "carts"} | params
    with pytest.raises(ClientError) as caught:
        getattr(plane.client("iam", plane.node), operation)(**params)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert caught.value.response["Error"]["Message"] == (
        f"User: {IAM_ARN}user/node is not authorized to perform: iam:{action} on resource: {words} "
        f"because no identity-based policy allows the iam:{action} action"
    )

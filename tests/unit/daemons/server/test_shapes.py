"""Parameters against the published models, in AWS's sentences."""

from __future__ import annotations

from typing import Any

import pytest

from rolecall.daemons.server.shapes import input_faults, service_model

# (service, operation, parameters, AWS's sentence; None where nothing is wrong)
CASES: dict[str, tuple[str, str, dict[str, Any], str | None]] = {
    "good": ("eks", "DescribeCluster", {"name": "demo"}, None),
    "missing": (
        "eks",
        "DescribeAddon",
        {"clusterName": "demo"},
        "1 validation error detected: Value null at 'addonName' failed to satisfy constraint: Member must not be null",
    ),
    "two at once": (
        "sts",
        "AssumeRole",
        {},
        ("2 validation errors detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null; "
        "Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null"),
    ),
    "too large": (
        "eks",
        "ListClusters",
        {"maxResults": 101},
        ("1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: "
        "Member must have value less than or equal to 100"),
    ),
    "too small": (
        "eks",
        "ListClusters",
        {"maxResults": 0},
        ("1 validation error detected: Value '0' at 'maxResults' failed to satisfy constraint: "
        "Member must have value greater than or equal to 1"),
    ),
    "too short": (
        "iam",
        "CreateUser",
        {"UserName": ""},
        "Value '' at 'userName' failed to satisfy constraint: Member must have length greater than or equal to 1",
    ),
    "a pattern": (
        "sts",
        "AssumeRole",
        {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "a b"},
        (r"1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: [\w+=,.@-]*"),
    ),
    "a pattern holds to the end": ("eks", "CreateCluster", {
        "name": "demo\n", "roleArn": "r", "resourcesVpcConfig": {},
    }, "at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern"),
    "a choice": (
        "iam",
        "UpdateAccessKey",
        {"AccessKeyId": "AKIAAAAAAAAAAAAAAAAA", "Status": "Off"},
        "Value 'Off' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive",
    ),
    "a list's member": (
        "sts",
        "AssumeRole",
        {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "me", "Tags": [{"Key": "", "Value": ""}]},
        "Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length",
    ),
    "a map's size": (
        "eks",
        "CreateAddon",
        {"clusterName": "c", "addonName": "a", "tags": {}},
        "Value at 'tags' failed to satisfy constraint: Member must have length greater than or equal to 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("service", "operation", "params", "sentence"), CASES.values(), ids=CASES)
def test_faults(service: str, operation: str, params: dict[str, Any], sentence: str | None) -> None:
    """AWS's sentence, or none."""
    got = input_faults(service_model(service).operation_model(operation), params)
    if sentence is None:
        assert got is None
    else:
        assert got is not None
        assert sentence in got


def test_a_sensitive_value_is_not_shown() -> None:
    """EKS Auth's token, STS's web identity token: the fault is named, the value is not."""
    for service, operation, params in (
        ("eks-auth", "AssumeRoleForPodIdentity", {"clusterName": "demo", "token": "very-secret"}),
        (
            "sts",
            "AssumeRoleWithWebIdentity",
            {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "me", "WebIdentityToken": "abc"},
        ),
    ):
        got = input_faults(service_model(service).operation_model(operation), params)
        assert got is not None
        assert "oken'" in got
        assert "very-secret" not in got
        assert "abc" not in got


def test_a_long_value_is_cut() -> None:
    """Eighty characters are enough to recognise it."""
    got = input_faults(service_model("eks").operation_model("CreateCluster"), {
        "name": "x" * 5000, "roleArn": "r", "resourcesVpcConfig": {},
    })  # fmt: skip
    assert got is not None
    assert "x" * 80 + "...'" in got
    assert len(got) < 500

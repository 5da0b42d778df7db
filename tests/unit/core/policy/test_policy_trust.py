"""Which services a role can ever admit, and the keys of federated claims."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rolecall.core.policy.document import parse_policy
from rolecall.core.policy.trust import admits_service, federated_condition_key, split_condition_key

PODS = "pods.eks.amazonaws.com"
BOTH = ["sts:AssumeRole", "sts:TagSession"]


def allow(principal: Any = None, action: Any = BOTH, **rest: Any) -> dict[str, Any]:
    """Return a statement that allows, by default the service of Pod Identity."""
    return {"Effect": "Allow", "Principal": principal or {"Service": PODS}, "Action": action, **rest}


def admits(*statements: dict[str, Any], actions: list[str] = BOTH) -> bool:
    """Say whether a trust policy of these statements admits the service."""
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return admits_service(parse_policy(document, "trust"), PODS, actions)


CONDITIONED = {"Condition": {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "carts"}}}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([allow()], True),
        ([allow(action="sts:*")], True),
        ([allow(action="sts:AssumeRole"), allow(action="sts:TagSession")], True),
        ([allow(**CONDITIONED)], True),
        ([allow("*")], True),
        ([allow(action="sts:AssumeRole")], False),
        ([allow({"Service": "ec2.amazonaws.com"})], False),
        ([allow({"AWS": "123456789012"})], False),
        ([allow(), {**allow(action="sts:TagSession"), "Effect": "Deny"}], False),
        ([allow(), {**allow(**CONDITIONED), "Effect": "Deny"}], True),
        ([allow(), {**allow({"Service": "ec2.amazonaws.com"}), "Effect": "Deny"}], True),
        ([allow(Condition={"StringEquals": {"aws:a": []}})], False),
        ([allow(Condition={"Null": {"aws:a": "true"}, "StringEquals": {"AWS:A": "x"}})], False),
        ([allow(Condition={"Null": {"aws:a": "true"}, "StringEqualsIfExists": {"aws:a": "x"}})], True),
        ([allow(Condition={"Null": {"aws:a": "true"}, "ForAllValues:StringEquals": {"aws:a": "x"}})], True),
        ([allow(Condition={"Null": {"aws:a": "true"}, "ForAnyValue:StringEquals": {"aws:a": "x"}})], False),
        ([allow(Condition={"Null": {"aws:a": "false"}, "StringNotEquals": {"aws:a": "x"}})], True),
    ],
)
def test_admits_service(statements: list[dict[str, Any]], expected: bool) -> None:
    """False just where no request by the service could be allowed all the actions."""
    assert admits(*statements) is expected


@pytest.mark.parametrize(
    ("issuer", "key"),
    [
        ("https://oidc.eks.us-west-2.amazonaws.com/id/ABC", "oidc.eks.us-west-2.amazonaws.com/id/ABC:sub"),
        ("http://127.0.0.1:4500/id/ABC", "127.0.0.1:4500/id/ABC:sub"),
        ("http://[::1]:4500", "[::1]:4500:sub"),
        ("oidc.acme.io/c01", "oidc.acme.io/c01:sub"),
    ],
)
def test_condition_keys_of_issuers(issuer: str, key: str) -> None:
    """The issuer without its scheme; read back, the key is split at its last colon."""
    assert federated_condition_key(issuer, "sub") == key
    assert split_condition_key(key) == (key.removesuffix(":sub"), "sub")

"""Reading policy documents: sizes, references, and that nothing but `BadPolicy` ever comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.core.policy.document import Kind, minified_length, parse_policy
from rolecall.errors import BadPolicy

STATEMENT = {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "*"}

POLICY_NAMES = [
    "Version",
    "Id",
    "Statement",
    "AWS",
    "Service",
    "Federated",
    "StringLike",
    "ForAnyValue:ArnLike",
    "a:b",
]
STATEMENT_NAMES = [
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
    "Principal",
    "Null",
]
NAMES = st.sampled_from([*POLICY_NAMES, *STATEMENT_NAMES])
TEXTS = st.sampled_from(["2012-10-17", "Allow", "Deny", "*", "sts:*", "arn:aws:s3:::b/${a:b}", "true"]) | st.text()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=5),
    max_leaves=20,
)


def reads_or_refuses(text: str | bytes, kind: Kind) -> None:
    """Parse; a refusal must be a `BadPolicy` with a path, and printable."""
    refusal = None
    try:
        parse_policy(text, kind)
    except BadPolicy as caught:
        refusal = caught
    if refusal is not None:
        assert refusal.path.startswith("$")
        assert refusal.message.encode()  # fails on a lone surrogate


@settings(max_examples=300, deadline=None)
@given(TREES, st.sampled_from(["identity", "trust"]))
def test_any_json_is_read_or_refused(tree: Any, kind: Kind) -> None:
    """Trees of the right names in wrong places."""
    reads_or_refuses(json.dumps(tree), kind)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(NAMES, LEAVES | st.lists(LEAVES, max_size=2), max_size=6),
    st.sampled_from(["identity", "trust"]),
)
def test_any_statement_is_read_or_refused(statement: dict[str, Any], kind: Kind) -> None:
    """A sound frame with an arbitrary statement in it reaches further."""
    base: dict[str, Any] = {"Effect": "Allow", "Action": "sts:AssumeRole"}
    base |= {"Resource": "*"} if kind == "identity" else {"Principal": "*"}
    reads_or_refuses(json.dumps({"Statement": [{**base, **statement}]}), kind)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary(), st.sampled_from(["identity", "trust"]))
def test_any_text_is_read_or_refused(text: str | bytes, kind: Kind) -> None:
    """Text and bytes that are hardly ever JSON."""
    reads_or_refuses(text, kind)


@pytest.mark.parametrize("text", ["\ud800", b"\xff", b"\xef\xbb\xbf{}", "[" * 20_000, '{"a":' * 4_000, "1" * 20_000])
def test_hostile_text_is_refused(text: str | bytes) -> None:
    """Lone surrogates, broken UTF-8, a byte order mark, deep nesting, a number too long to convert."""
    with pytest.raises(BadPolicy):
        parse_policy(text, "identity")


def test_the_limit_counts_bytes() -> None:
    """20,480 bytes are read, one more is not."""
    text = json.dumps({"Statement": STATEMENT})
    assert parse_policy(text + " " * (20_480 - len(text)), "identity").statements
    with pytest.raises(BadPolicy, match="20481 bytes"):
        parse_policy(text + " " * (20_481 - len(text)), "identity")
    with pytest.raises(BadPolicy, match="at most 20480"):
        parse_policy(json.dumps({"Id": "ä" * 10_240, "Statement": STATEMENT}, ensure_ascii=False), "identity")


def test_a_statement_is_called_by_its_sid_or_its_place() -> None:
    """The reference is what explanations show."""
    policy = parse_policy(json.dumps({"Statement": [STATEMENT, {**STATEMENT, "Sid": "Two"}, STATEMENT]}), "identity")
    assert [statement.ref for statement in policy.statements] == ["Statement[0]", "Two", "Statement[2]"]


def test_a_document_without_version_is_of_2008() -> None:
    """IAM User Guide, Version: 2008-10-17 is the default."""
    assert parse_policy(json.dumps({"Statement": STATEMENT}), "identity").version == "2008-10-17"


def test_paths_quote_keys_that_are_not_plain() -> None:
    """A hostile key can neither forge a path nor break a terminal."""
    with pytest.raises(BadPolicy) as caught:
        parse_policy(json.dumps({"\u001b[2J\n": 1, "Statement": STATEMENT}), "identity")
    assert caught.value.path == '$["\\u001b[2J\\n"]'


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ('{"Version": "2012-10-17"}', 24),
        ('{\n  "a b" : [1, 2]\t\r\n}', 13),
        ('{"a \\" b": " "}', 14),
        ("", 0),
        ('"a b', 3),
    ],
)
def test_minified_length(text: str, length: int) -> None:
    """White space outside strings is not counted (IAM and STS quotas); inside strings it is."""
    assert minified_length(text) == length


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_minified_length_is_that_of_compact_json(tree: Any) -> None:
    """The oracle is the JSON encoder without its spaces."""
    compact = json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
    assert minified_length(json.dumps(tree, indent=2, ensure_ascii=False)) == len(compact)


def test_sizes_of_trust_policies_are_those_of_the_quota_table() -> None:
    """A Pod Identity trust policy is 151 characters for any number of clusters."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
            }
        ],
    }
    assert minified_length(json.dumps(policy, indent=4)) == 151

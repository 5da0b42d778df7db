"""What must hold for every policy and every request, and what explanations say."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.document import Policy, parse_policy
from rolecall.core.policy.evaluate import AccessRequest, NamedPolicy, Verdict, evaluate
from rolecall.core.policy.match import Requester

SESSION = Requester(
    "arn:aws:sts::123456789012:assumed-role/app/s",
    "123456789012",
    "role-session",
    "arn:aws:iam::123456789012:role/app",
)
KEYS = ["aws:a", "aws:b"]
VALUES = ["x", "y", "x*", "${aws:b}", "${aws:a, 'x'}", "true"]
CONDITIONS = st.dictionaries(
    st.sampled_from(
        [
            "StringEquals",
            "StringNotLike",
            "StringLikeIfExists",
            "ForAnyValue:StringEquals",
            "ForAllValues:StringNotEquals",
        ]
    ),
    st.dictionaries(st.sampled_from(KEYS), st.lists(st.sampled_from(VALUES), max_size=2), min_size=1, max_size=2),
    max_size=2,
)
STATEMENTS = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Resource": st.sampled_from(["*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:a}"]),
        "Condition": CONDITIONS,
    },
    optional={},
).flatmap(
    lambda body: st.sampled_from(
        [{**body, "Action": "s3:Get*"}, {**body, "Action": "*"}, {**body, "NotAction": "s3:PutObject"}]
    )
)
CONTEXTS = st.builds(
    RequestContext.of,
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["x", "y", "*", ""]), max_size=2),
    st.dictionaries(st.sampled_from(KEYS), st.lists(st.sampled_from(["x", "y"]), max_size=2), max_size=1),
)
REQUESTS = st.builds(
    AccessRequest,
    st.sampled_from(["s3:GetObject", "s3:PutObject", "iam:GetRole"]),
    st.sampled_from(["arn:aws:s3:::b/x", "arn:aws:s3:::b/*", "arn:aws:s3:::c"]),
    st.just(SESSION),
    CONTEXTS,
)


def read(statements: list[dict[str, Any]]) -> Policy:
    """Return the policy of these statements."""
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": statements}), "identity")


def verdict(statements: list[dict[str, Any]], request: AccessRequest) -> Verdict:
    """Return the verdict of one policy."""
    return evaluate([NamedPolicy("p", read(statements))], request).verdict


@settings(max_examples=200, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=4), STATEMENTS, REQUESTS)
def test_a_further_deny_never_opens(statements: list[Any], further: dict[str, Any], request: AccessRequest) -> None:
    """Adding a Deny statement turns no denial into an Allow, and never takes an explicit deny back."""
    before = verdict(statements, request)
    after = verdict([*statements, {**further, "Effect": "Deny"}], request)
    if before is not Verdict.ALLOW:
        assert after is not Verdict.ALLOW
    if before is Verdict.EXPLICIT_DENY:
        assert after is Verdict.EXPLICIT_DENY


@settings(max_examples=200, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=4), STATEMENTS, REQUESTS)
def test_a_further_allow_never_closes(statements: list[Any], further: dict[str, Any], request: AccessRequest) -> None:
    """Adding an Allow statement takes no permission away."""
    if verdict(statements, request) is Verdict.ALLOW:
        assert verdict([*statements, {**further, "Effect": "Allow"}], request) is Verdict.ALLOW


@settings(max_examples=200, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=5), st.randoms(use_true_random=False), REQUESTS)
def test_order_does_not_matter(statements: list[Any], dice: Any, request: AccessRequest) -> None:
    """Neither the order of statements nor how they are spread over policies."""
    shuffled = list(statements)
    dice.shuffle(shuffled)
    expected = verdict(statements, request)
    assert verdict(shuffled, request) is expected
    spread = [NamedPolicy(f"p{index}", read([statement])) for index, statement in enumerate(shuffled)]
    assert evaluate(spread, request).verdict is expected


def test_no_policies_allow_nothing() -> None:
    """Default deny."""
    outcome = evaluate([], AccessRequest("s3:GetObject", "*", SESSION, RequestContext()))
    assert outcome.verdict is Verdict.IMPLICIT_DENY
    assert not outcome.allowed


def test_a_trust_policy_is_no_identity_policy() -> None:
    """Evaluated as one by mistake, it allows nothing."""
    trust = parse_policy('{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:*"}}', "trust")
    request = AccessRequest("sts:AssumeRole", "*", SESSION, RequestContext())
    assert evaluate([NamedPolicy("p", trust)], request).verdict is Verdict.IMPLICIT_DENY


def test_near_misses_speak_in_sentences() -> None:
    """What is shown to people: what is wanted and what is there."""
    policy = read(
        [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::other"},
            {
                "Effect": "Allow",
                "Action": "s3:*",
                "Resource": "*",
                "Condition": {"StringEquals": {"aws:a": ["x", "y"]}},
            },
        ]
    )
    outcome = evaluate(
        [NamedPolicy("p", policy)], AccessRequest("s3:GetObject", "arn:aws:s3:::b", SESSION, RequestContext())
    )
    assert [miss.sentence for miss in outcome.near] == [
        "p/Statement[0] is for the resource 'arn:aws:s3:::other'; the request has 'arn:aws:s3:::b'",
        "p/Statement[1] wants StringEquals aws:a 'x' or 'y'; the request has nothing",
    ]

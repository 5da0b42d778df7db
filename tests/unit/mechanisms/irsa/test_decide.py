"""May the holder of a web identity token have the role? The trust policy decides (landscape.md §1.5-1.6)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rolecall.core.caller import HoldsToken
from rolecall.core.grant import Grant, Hop, Refusal
from rolecall.core.names import RoleArn
from rolecall.core.policy.document import Policy, parse_policy
from rolecall.core.session import SessionSpec
from rolecall.core.tokens.claims import VerifiedClaims
from rolecall.mechanisms.irsa.decide import Facts, decide, federated_keys

ISSUER = "127.0.0.1:4500/id/ABC"  # has colons of its own, as the plane's issuers have
PROVIDER = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/carts")
SUBJECT = "system:serviceaccount:carts:carts"
CLAIMS = VerifiedClaims(
    issuer=f"http://{ISSUER}", subject=SUBJECT, audience="sts.amazonaws.com", expires_at=2.0, issued_at=1.0
)
WEB_IDENTITY = "sts:AssumeRoleWithWebIdentity"


def trust(
    action: Any = WEB_IDENTITY,
    *,
    principal: Any = None,
    condition: dict[str, dict[str, Any]] | None = None,
    effect: str = "Allow",
    sub: str = SUBJECT,
) -> Policy:
    """Return a trust policy of the usual form, one statement."""
    usual = {"StringEquals": {f"{ISSUER}:sub": sub, f"{ISSUER}:aud": "sts.amazonaws.com"}}
    statement = {
        "Effect": effect,
        "Principal": {"Federated": PROVIDER} if principal is None else principal,
        "Action": action,
        "Condition": usual if condition is None else condition,
    }
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": [statement]}), "trust")


FACTS = Facts(HoldsToken(CLAIMS), PROVIDER, ROLE, trust(), 3600, SessionSpec("carts", 3600))
TAGGED = SessionSpec("carts", 3600, {"Team": "x"}, frozenset({"Team"}))
NAMED = SessionSpec("carts", 3600, source_identity="me")

GRANTED = {
    "the usual trust policy": FACTS,
    "StringLike over the namespace": replace(
        FACTS, trust=trust(condition={"StringLike": {f"{ISSUER}:sub": "system:serviceaccount:carts:*"}})
    ),
    "tags with TagSession": replace(FACTS, session=TAGGED, trust=trust([WEB_IDENTITY, "sts:TagSession"])),
    "an identity with SetSourceIdentity": replace(
        FACTS, session=NAMED, trust=trust([WEB_IDENTITY, "sts:SetSourceIdentity"])
    ),
    "the role's maximum to the second": replace(FACTS, max_session=3600),
    "what a federated principal is": replace(
        FACTS,
        trust=trust(
            condition={
                "StringEquals": {
                    "aws:PrincipalType": "User",
                    "aws:PrincipalAccount": "123456789012",
                    "aws:FederatedProvider": PROVIDER,
                    "aws:userid": PROVIDER,
                    "sts:RoleSessionName": "carts",
                },
                "Null": {"aws:PrincipalArn": "true"},
            }
        ),
    ),
    "a role that the token lists": replace(
        FACTS,
        caller=HoldsToken(replace(CLAIMS, authorized_roles=(str(ROLE),))),
        trust=trust(condition={"Bool": {"sts:RoleAuthorizedByIdp": "true"}}),
    ),
}


@pytest.mark.parametrize("facts", GRANTED.values(), ids=GRANTED)
def test_granted(facts: Facts) -> None:
    """One hop: the role, with exactly the session that was asked for, and the statement that decided."""
    decision = decide(facts)
    assert isinstance(decision, Grant)
    assert decision.hops == (Hop(ROLE, facts.session),)
    assert decision.because


REFUSED = {
    "no such role": (replace(FACTS, trust=None, max_session=0), "no-such-role"),
    "a subject that differs by one letter": (
        replace(FACTS, caller=HoldsToken(replace(CLAIMS, subject="system:serviceaccount:carts:cartz"))),
        "trust-mismatch",
    ),
    "another audience": (replace(FACTS, caller=HoldsToken(replace(CLAIMS, audience="other"))), "trust-mismatch"),
    "another provider": (replace(FACTS, trust=trust(principal={"Federated": PROVIDER + "D"})), "trust-mismatch"),
    "another issuer's condition key": (
        replace(FACTS, trust=trust(condition={"StringEquals": {"127.0.0.1:4500/id/ABD:sub": SUBJECT}})),
        "trust-mismatch",
    ),
    "everybody of AWS is not OIDC": (replace(FACTS, trust=trust(principal={"AWS": "*"})), "trust-mismatch"),
    "AssumeRole is another action": (replace(FACTS, trust=trust("sts:AssumeRole")), "trust-mismatch"),
    "an explicit deny": (replace(FACTS, trust=trust(effect="Deny")), "trust-mismatch"),
    "tags without TagSession": (replace(FACTS, session=TAGGED), "no-tag-session"),
    "an identity without SetSourceIdentity": (replace(FACTS, session=NAMED), "no-set-source-identity"),
    "a second too long": (replace(FACTS, max_session=3599), "too-long"),
    "too long, but a stranger is not told": (replace(FACTS, max_session=1, trust=trust(sub="other")), "trust-mismatch"),
    "a role that the token does not list": (
        replace(FACTS, caller=HoldsToken(replace(CLAIMS, authorized_roles=("arn:aws:iam::123456789012:role/cart",)))),
        "role-not-in-token",
    ),
    "a token that lists no roles": (
        replace(FACTS, trust=trust(condition={"Bool": {"sts:RoleAuthorizedByIdp": "true"}})),
        "trust-mismatch",
    ),
}


@pytest.mark.parametrize(("facts", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(facts: Facts, reason: str) -> None:
    """A stable reason word and a sentence that names the role."""
    decision = decide(facts)
    assert isinstance(decision, Refusal)
    assert decision.reason == reason
    assert decision.hint
    assert reason == "too-long" or str(ROLE) in decision.sentence


def test_a_mismatch_shows_what_was_compared() -> None:
    """The operator reads the token's sub, aud and issuer, and what the policy wanted instead."""
    decision = decide(replace(FACTS, trust=trust(sub="system:serviceaccount:carts:cartz")))
    assert isinstance(decision, Refusal)
    assert f"{SUBJECT!r}" in decision.hint
    assert f"http://{ISSUER}" in decision.hint
    assert any("cartz" in line for line in decision.because)


def test_the_session_keeps_the_issuers_keys() -> None:
    """Later policies may ask ``<issuer>:sub`` and ``<issuer>:aud``; the key has no scheme."""
    assert federated_keys(CLAIMS) == {f"{ISSUER}:sub": SUBJECT, f"{ISSUER}:aud": "sts.amazonaws.com"}

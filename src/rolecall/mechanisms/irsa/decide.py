"""May the holder of this token have a session of this role? The role's trust policy decides."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.caller import HoldsToken
from rolecall.core.grant import Decision, Grant, Hop, Refusal
from rolecall.core.names import RoleArn
from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.document import Policy
from rolecall.core.policy.evaluate import Verdict
from rolecall.core.policy.match import Requester
from rolecall.core.policy.session_keys import session_keys
from rolecall.core.policy.trust import federated_condition_key, trust_verdict
from rolecall.core.session import SessionSpec
from rolecall.core.tokens.claims import VerifiedClaims


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the decision reads: who asks, for which session, and what the role says.

    `trust` is None where the role does not exist. `max_session` is the role's maximum in seconds.
    """

    caller: HoldsToken
    provider_arn: str
    role: RoleArn
    trust: Policy | None
    max_session: int
    session: SessionSpec


def decide(facts: Facts) -> Decision:
    """Return the grant, or the refusal with its reason word.

    ``role-not-in-token``: the issuer lets the holder assume other roles only. ``no-such-role``,
    ``trust-mismatch`` (sub, aud, Federated or Action), ``no-tag-session``, ``no-set-source-identity``: STS
    tells a stranger none of these apart; the operator sees them. ``too-long`` comes last, for whoever the role
    trusts.
    """
    claims = facts.caller.claims
    if claims.authorized_roles is not None and str(facts.role) not in claims.authorized_roles:
        named = ", ".join(claims.authorized_roles) or "none"
        return Refusal(
            "role-not-in-token",
            f"the token may not be used for {facts.role}: it names the roles that it is for",
            f"have its issuer name this role too; it names {named}",
        )
    if facts.trust is None:
        return Refusal("no-such-role", f"role {facts.role} does not exist", "check the role-arn annotation")
    context = trust_context(facts)
    requester = web_identity(facts.provider_arn, claims)
    actions = [("sts:AssumeRoleWithWebIdentity", "trust-mismatch")]
    if facts.session.tags:
        actions.append(("sts:TagSession", "no-tag-session"))
    if facts.session.source_identity:
        actions.append(("sts:SetSourceIdentity", "no-set-source-identity"))
    deciding: tuple[str, ...] = ()
    for action, reason in actions:
        outcome = trust_verdict(facts.trust, action, requester, context)
        if outcome.verdict is not Verdict.ALLOW:
            near = tuple(miss.sentence for miss in outcome.near)
            return Refusal(
                reason,
                f"the trust policy of {facts.role} does not allow {action} to {claims.subject}",
                f"compare the policy with sub {claims.subject!r} and aud {claims.audience!r} of {claims.issuer}",
                outcome.deciding + near,
            )
        deciding += outcome.deciding
    if facts.session.duration > facts.max_session:
        return Refusal(
            "too-long",
            f"{facts.session.duration} s is longer than the role's MaxSessionDuration, {facts.max_session} s",
            "ask for less, or raise the role's maximum",
        )
    return Grant((Hop(facts.role, facts.session),), deciding)


def web_identity(provider_arn: str, claims: VerifiedClaims) -> Requester:
    """Return the caller as trust policies see it: a federated principal, never an AWS one."""
    return Requester(
        arn=provider_arn,
        account=provider_arn.split(":")[4],
        kind="web-identity",
        provider_arn=provider_arn,
        user_id=provider_arn,
    )


def trust_context(facts: Facts) -> RequestContext:
    """Return the condition keys of the request (landscape.md §1.5-1.6)."""
    claims = facts.caller.claims
    listed = claims.authorized_roles is not None and str(facts.role) in claims.authorized_roles
    return session_keys(facts.session) | RequestContext.of(
        {
            **federated_keys(claims),
            "aws:FederatedProvider": facts.provider_arn,
            "aws:PrincipalAccount": facts.provider_arn.split(":")[4],
            "aws:PrincipalType": "User",
            "aws:userid": facts.provider_arn,
            "sts:RoleAuthorizedByIdp": str(listed).lower(),
        }
    )


def federated_keys(claims: VerifiedClaims) -> dict[str, str]:
    """Return ``<issuer>:sub`` and ``<issuer>:aud``; the session keeps both."""
    return {
        federated_condition_key(claims.issuer, "sub"): claims.subject,
        federated_condition_key(claims.issuer, "aud"): claims.audience,
    }

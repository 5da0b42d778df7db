"""Trust policies: may this requester assume the role?

Source: IAM User Guide, "Policy evaluation logic" and "AWS JSON policy elements: Principal".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.document import Policy, Statement
from rolecall.core.policy.evaluate import NearMiss, Verdict, condition_miss, failed_condition
from rolecall.core.policy.match import PrincipalMatch, Requester


@dataclass(frozen=True, slots=True)
class TrustOutcome:
    """The verdict of a trust policy, with the refs of the statements it rests on.

    `delegated` is True where the role is open to the requester only through its account
    (``arn:…:root`` or the account id): then the requester's own identity policies must allow the action
    as well. For a requester of another account than the role's they must do so in any case; that is
    the caller's to check, who knows the role. `near` is filled for an implicit deny only.
    """

    verdict: Verdict
    deciding: tuple[str, ...] = ()
    delegated: bool = False
    near: tuple[NearMiss, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the trust policy lets the requester in (see `delegated`)."""
        return self.verdict is Verdict.ALLOW


def trust_verdict(trust: Policy, action: str, requester: Requester, context: RequestContext) -> TrustOutcome:
    """Judge one action (``sts:AssumeRole``, ``sts:AssumeRoleWithWebIdentity``, ``sts:TagSession``,
    ``sts:SetSourceIdentity``) by a role's trust policy. A call that needs two actions is asked twice.
    """
    action = action.lower()
    allows: list[str] = []
    denies: list[str] = []
    near: list[NearMiss] = []
    delegated = True
    for statement in trust.statements:
        if statement.principals is None or not statement.actions.cover(action):
            continue
        match = statement.principals.match(requester)
        failed = failed_condition(statement, context)
        if match is not PrincipalMatch.NO and failed is None:
            (allows if statement.effect == "Allow" else denies).append(statement.ref)
            if statement.effect == "Allow" and match is PrincipalMatch.DIRECT:
                delegated = False
        elif statement.effect == "Allow":
            near.append(_miss(statement, match, requester, context))
    if denies:
        return TrustOutcome(Verdict.EXPLICIT_DENY, tuple(denies))
    if allows:
        return TrustOutcome(Verdict.ALLOW, tuple(allows), delegated=delegated)
    return TrustOutcome(Verdict.IMPLICIT_DENY, near=tuple(near))


def _miss(statement: Statement, match: PrincipalMatch, requester: Requester, context: RequestContext) -> NearMiss:
    failed = failed_condition(statement, context)
    if match is not PrincipalMatch.NO and failed is not None:
        return condition_miss(statement.ref, failed, context)
    expected = statement.principals.texts if statement.principals is not None else ()
    actual = requester.provider_arn or requester.service or requester.arn or requester.kind
    return NearMiss(statement.ref, "principal", expected, actual)


def admits_service(trust: Policy, service: str, actions: Sequence[str]) -> bool:
    """Say whether any request by a service principal could be allowed all of `actions`.

    Conditions count as true unless none could ever make them so; a Deny counts where it has no
    conditions. False means for certain that a role cannot be used by the service.
    """
    requester = Requester(arn="", account="", kind="service", service=service)
    return all(_could_allow(trust, action.lower(), requester) for action in actions)


def _could_allow(trust: Policy, action: str, requester: Requester) -> bool:
    allowed = False
    for statement in trust.statements:
        if statement.principals is None or not statement.actions.cover(action):
            continue
        if statement.principals.match(requester) is PrincipalMatch.NO:
            continue
        if statement.effect == "Deny" and not statement.conditions:
            return False
        if statement.effect == "Allow" and _could_hold(statement):
            allowed = True
    return allowed


def _could_hold(statement: Statement) -> bool:
    """Say whether some request could meet all conditions: each key is either there or not."""
    keys = {condition.name for condition in statement.conditions}
    for name in keys:
        about = [condition for condition in statement.conditions if condition.name == name]
        absent = all(condition.holds_when_missing for condition in about)
        present = all(condition.may_hold_when_present for condition in about)
        if not absent and not present:
            return False
    return True


def split_condition_key(key: str) -> tuple[str, str]:
    """Split a federated condition key at its last colon into the issuer and the claim.

    The issuer may hold colons of its own: ``127.0.0.1:4500/id/ABC:sub`` is the claim ``sub``.
    """
    issuer, _, claim = key.rpartition(":")
    return issuer, claim


def federated_condition_key(issuer_url: str, claim: str) -> str:
    """Return the condition key of an issuer's claim: the issuer without its scheme, a colon, the claim."""
    _, mark, rest = issuer_url.partition("://")
    return f"{rest if mark else issuer_url}:{claim}"

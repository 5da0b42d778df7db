"""May this principal do this? Its identity policies decide; what none allows is denied."""

from __future__ import annotations

from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.evaluate import AccessRequest, Outcome, Verdict, evaluate
from rolecall.daemons.local_aws.iam.records import identity_policies
from rolecall.daemons.local_aws.operations import Call, Target, World
from rolecall.daemons.local_aws.principals import Principal, RoleSession, User
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import ServiceError


def request_context(world: World, principal: Principal) -> RequestContext:
    """Return the condition keys of every call: who calls, and in which region."""
    return principal.context() | RequestContext.of(
        {"aws:RequestedRegion": world.region, "aws:SecureTransport": "false"}
    )


def identity_outcome(tx: Tx, world: World, principal: Principal, action: str, target: Target) -> Outcome:
    """Return what the principal's own policies say about an action on a target."""
    match principal:
        case User():
            policies = identity_policies(tx, f"user/{principal.name}")
        case RoleSession():
            policies = identity_policies(tx, f"role/{principal.role.name}")
        case _:
            policies = ()
    context = request_context(world, principal) | target.context
    return evaluate(policies, AccessRequest(action, target.arn, principal.requester(), context))


def authorize(tx: Tx, call: Call, action: str, target: Target, denied: str) -> None:
    """Return where the caller is allowed; else raise `ServiceError` 403 `denied` with AWS's sentence."""
    assert call.principal is not None, "only signed calls are authorised"
    outcome = identity_outcome(tx, call.world, call.principal, action, target)
    if outcome.verdict is not Verdict.ALLOW:
        raise ServiceError(denied, sentence(call.principal, action, target, outcome.verdict), status=403)


def sentence(principal: Principal, action: str, target: Target, verdict: Verdict) -> str:
    """Return AWS's sentence for a denial (IAM User Guide, "Troubleshoot access denied error messages")."""
    why = (
        "with an explicit deny in an identity-based policy"
        if verdict is Verdict.EXPLICIT_DENY
        else f"because no identity-based policy allows the {action} action"
    )
    arn = principal.name if not isinstance(principal, User | RoleSession) else principal.arn
    return f"User: {arn} is not authorized to perform: {action} on resource: {target.words} {why}"

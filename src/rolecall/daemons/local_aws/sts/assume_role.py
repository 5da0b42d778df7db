"""AssumeRole: the role's trust policy admits the caller, for exactly the session that is asked for."""

from __future__ import annotations

from dataclasses import replace

from rolecall.core.grant import Hop
from rolecall.core.names import RoleArn
from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.evaluate import Verdict
from rolecall.core.policy.session_keys import session_keys
from rolecall.core.policy.trust import trust_verdict
from rolecall.core.session import LONGEST_CHAINED_SESSION, MOST_TAGS, SessionSpec, check_tags
from rolecall.daemons.local_aws.authorize import identity_outcome, request_context
from rolecall.daemons.local_aws.iam.records import Role, find_role, trust_of
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Target, World
from rolecall.daemons.local_aws.principals import Principal, RoleSession, Service, User
from rolecall.daemons.local_aws.sts.sessions import Minted, mint
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import BadName, ServiceError

_DEFAULT_DURATION = 3600


def assume(tx: Tx, world: World, principal: Principal, hop: Hop, now: float) -> Minted:
    """Return a new session of `hop.role` for `principal`; raises `ServiceError` as STS would.

    The trust policy must allow sts:AssumeRole, and sts:TagSession and sts:SetSourceIdentity where the session
    carries tags or an identity, its own or inherited. Where the trust policy only names the caller's account,
    the caller's identity policies must allow the same.
    """
    spec = inherit(principal, hop.session)
    role = find_role(tx, hop.role)
    denial = denied(principal, "sts:AssumeRole", hop.role)
    if role is None:
        raise denial
    context = request_context(world, principal) | session_keys(spec)
    actions = ["sts:AssumeRole"]
    actions += ["sts:TagSession"] if spec.tags else []
    actions += ["sts:SetSourceIdentity"] if spec.source_identity else []
    for action in actions:
        if not _allowed(tx, world, principal, role, action, context):
            raise denied(principal, action, hop.role)
    check_duration(principal, role, spec)
    return mint(tx, world, role, spec, now)


def inherit(principal: Principal, spec: SessionSpec) -> SessionSpec:
    """Return the session with what a chain passes on: transitive tags and the source identity.

    Raises `ServiceError` where the request sets again what it inherits (STS API Reference, AssumeRole, Tags).
    """
    if not isinstance(principal, RoleSession):
        return spec
    passed = {key: value for key, value in principal.tags.items() if key in principal.transitive_keys}
    again = sorted(key for key in spec.tags if key.lower() in {kept.lower() for kept in passed})
    if again:
        raise ServiceError(
            "InvalidParameterValue",
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key "
            "from the calling session.",
            hint=f"the session already carries {', '.join(again)}",
        )
    if principal.source_identity and spec.source_identity not in (None, principal.source_identity):
        raise denied(principal, "sts:SetSourceIdentity", None)
    tags = passed | dict(spec.tags)
    if len(tags) > MOST_TAGS:
        raise ServiceError("ValidationError", f"{len(tags)} session tags, inherited ones included: at most {MOST_TAGS}")
    return replace(
        spec,
        tags=tags,
        transitive_keys=spec.transitive_keys | frozenset(passed),
        source_identity=spec.source_identity or principal.source_identity,
    )


def check_duration(principal: Principal, role: Role, spec: SessionSpec) -> None:
    """Raise `ServiceError` for a session that may not last so long. A service is not held to the role's maximum."""
    if isinstance(principal, RoleSession) and spec.duration > LONGEST_CHAINED_SESSION:
        raise ServiceError(
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        )
    if not isinstance(principal, Service) and spec.duration > role.max_session:
        raise ServiceError(
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )


def denied(principal: Principal, action: str, role: RoleArn | None) -> ServiceError:
    """Return STS's denial, which never says whether the role exists."""
    arn = principal.arn if isinstance(principal, User | RoleSession) else principal.name
    where = f" on resource: {role}" if role is not None else ""
    return ServiceError("AccessDenied", f"User: {arn} is not authorized to perform: {action}{where}", status=403)


def _allowed(
    tx: Tx,
    world: World,
    principal: Principal,
    role: Role,
    action: str,
    context: RequestContext,
) -> bool:
    outcome = trust_verdict(trust_of(role), action, principal.requester(), context)
    if outcome.verdict is not Verdict.ALLOW:
        return False
    target = Target(str(role.arn), str(role.arn), context)
    own = identity_outcome(tx, world, principal, action, target)
    if own.verdict is Verdict.EXPLICIT_DENY:
        return False
    return own.verdict is Verdict.ALLOW or not outcome.delegated


def wanted_session(call: Call) -> Hop:
    """Return the role and session that an AssumeRole request names; raises `ServiceError` for impossible ones."""
    params = call.params
    for unsupported in ("Policy", "PolicyArns", "SerialNumber", "TokenCode", "ProvidedContexts"):
        if params.get(unsupported):
            raise ServiceError(
                "ValidationError",
                f"rolecall dev does not enforce {unsupported} yet, so it refuses a session that would ignore it",
            )
    try:
        role = RoleArn.parse(params["RoleArn"])
        tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        if len(tags) != len(params.get("Tags", ())):
            raise BadName("a session tag key is given twice")
        check_tags(tags)
    except BadName as fault:
        raise ServiceError("ValidationError", fault.message) from None
    transitive = frozenset(params.get("TransitiveTagKeys", ()))
    strange = sorted(transitive - tags.keys())
    if strange:
        raise ServiceError(
            "ValidationError", f"TransitiveTagKeys names keys that are not in Tags: {', '.join(strange)}"
        )
    spec = SessionSpec(
        name=params["RoleSessionName"],
        duration=params.get("DurationSeconds", _DEFAULT_DURATION),
        tags=tags,
        transitive_keys=transitive,
        external_id=params.get("ExternalId"),
        source_identity=params.get("SourceIdentity"),
    )
    return Hop(role, spec)


def assume_role(tx: Tx, call: Call) -> Answer:
    """Answer AssumeRole."""
    assert call.principal is not None
    hop = wanted_session(call)
    minted = assume(tx, call.world, call.principal, hop, call.now)
    identity = hop.session.source_identity
    return minted.answer() | ({"SourceIdentity": identity} if identity else {})


def _target(_tx: Tx, call: Call) -> Target:
    return Target(call.params["RoleArn"], call.params["RoleArn"])


# Open here: `assume` asks both sides, the trust policy and the caller's own policies.
OPERATION = Operation("sts:AssumeRole", _target, act=assume_role, for_everyone=True)

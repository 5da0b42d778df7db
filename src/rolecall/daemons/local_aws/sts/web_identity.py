"""AssumeRoleWithWebIdentity: an unsigned call whose token is the proof.

Gather (registered provider, its issuer's keys), identify (verify the token), decide (the role's trust
policy), issue (a session). Identify and decide are IRSA's own pure rooms, so that ``explain`` judges alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rolecall.core.caller import HoldsToken
from rolecall.core.grant import Refusal
from rolecall.core.names import RoleArn
from rolecall.core.secrets import Secret
from rolecall.core.session import SessionSpec, check_tags
from rolecall.core.tokens.claims import VerifiedClaims
from rolecall.core.tokens.jws import split
from rolecall.core.tokens.keys import Keyset
from rolecall.daemons.local_aws.iam.records import Provider, find_provider, find_role, trust_of
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, anything
from rolecall.daemons.local_aws.sts.sessions import mint
from rolecall.edges.store.sqlite import Database, Tx
from rolecall.errors import BadName, BadToken, ServiceError, Upstream
from rolecall.mechanisms.irsa.decide import Facts, decide, federated_keys
from rolecall.mechanisms.irsa.identify import identify

_DEFAULT_DURATION = 3600
_NOT_A_JWT = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
_NO_KEY = (
    "Couldn't retrieve verification key from your identity provider,  please reference "
    "AssumeRoleWithWebIdentity documentation for requirements"
)
_UNREADABLE = frozenset(
    {"empty", "too-long", "not-a-jws", "bad-base64", "bad-json", "bad-header", "unsigned", "bad-algorithm"}
)

FetchKeys = Callable[[str, str | None], Awaitable[Keyset]]
"""(issuer URL, key id) → the issuer's keys; raises `Upstream`. Called for registered issuers only."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was fetched before judging: the provider that is registered for the token's issuer, and its keys."""

    provider: Provider
    issuer: str
    keys: Keyset


class WebIdentity:
    """The operation, with what it needs to fetch keys."""

    def __init__(self, database: Database, fetch_keys: FetchKeys) -> None:
        self._database = database
        self._fetch_keys = fetch_keys

    def operation(self) -> Operation:
        """Return the table's entry."""
        return Operation(
            "sts:AssumeRoleWithWebIdentity", anything, act=_act, gather=self._gather, for_everyone=True, unsigned=True
        )

    async def _gather(self, call: Call) -> Gathered:
        """Find the provider by the token's issuer, which is a hint until the signature has been checked."""
        issuer, kid = unverified_issuer(call.params["WebIdentityToken"])
        url = issuer.partition("://")[2]
        provider = await self._database.run(lambda tx: find_provider(tx, url))
        if provider is None or not issuer.startswith(("https://", "http://")):
            raise _invalid(f"No OpenIDConnect provider found in your account for {issuer[:255]}")
        try:
            keys = await self._fetch_keys(issuer, kid)
        except Upstream as fault:
            # Asking again may help: the SDKs do. Where it cannot, they are told so.
            code = "IDPCommunicationError" if fault.retryable else "InvalidIdentityToken"
            raise ServiceError(code, _NO_KEY, hint=fault.message) from None
        except BadToken:
            raise _invalid(_NO_KEY) from None
        return Gathered(provider, issuer, keys)


def _act(tx: Tx, call: Call) -> Answer:
    assert isinstance(call.gathered, Gathered)
    provider = call.gathered.provider
    caller = _identified(call, call.gathered)
    spec = wanted_session(call, caller.claims)
    try:
        role_arn = RoleArn.parse(call.params["RoleArn"])
    except BadName:
        raise ServiceError("ValidationError", "Request ARN is invalid") from None
    role = find_role(tx, role_arn)
    decision = decide(
        Facts(
            caller=caller,
            provider_arn=provider.arn,
            role=role_arn,
            trust=None if role is None else trust_of(role),
            max_session=0 if role is None else role.max_session,
            session=spec,
        )
    )
    if isinstance(decision, Refusal):
        raise _denied(decision)
    assert role is not None, "a role that does not exist is refused"
    minted = mint(tx, call.world, role, spec, call.now, federated=federated_keys(caller.claims))
    return {
        **minted.answer(),
        "Audience": caller.claims.audience,
        "Provider": provider.arn,
        "SourceIdentity": spec.source_identity,
        "SubjectFromWebIdentityToken": caller.claims.subject,
    }


def _identified(call: Call, gathered: Gathered) -> HoldsToken:
    token = Secret(call.params["WebIdentityToken"])
    try:
        return identify(
            token,
            issuer=gathered.issuer,
            client_ids=gathered.provider.client_ids,
            keys=gathered.keys,
            now=call.now,
        )
    except BadToken as fault:
        raise token_error(fault) from None


def unverified_issuer(token: str) -> tuple[str, str | None]:
    """Return the issuer and key id that the token claims; raises `ServiceError` InvalidIdentityToken."""
    try:
        jws = split(token.strip())
    except BadToken:
        raise _invalid(_NOT_A_JWT) from None
    issuer, kid = jws.payload.get("iss"), jws.header.get("kid")
    if issuer is None:
        raise _invalid("Missing a required claim: iss")
    if not isinstance(issuer, str):
        raise _invalid(_NOT_A_JWT)
    return issuer, kid if isinstance(kid, str) else None


def wanted_session(call: Call, claims: VerifiedClaims) -> SessionSpec:
    """Return the session asked for, with the tags and identity that the verified token carries."""
    for unsupported in ("Policy", "PolicyArns", "ProviderId"):
        if call.params.get(unsupported):
            raise ServiceError(
                "ValidationError",
                f"rolecall dev does not enforce {unsupported} yet, so it refuses a session that would ignore it",
            )
    tags = dict(claims.aws_tags.principal_tags) if claims.aws_tags else {}
    transitive = frozenset(claims.aws_tags.transitive_keys) if claims.aws_tags else frozenset()
    try:
        check_tags(tags)
    except BadName as fault:
        raise _invalid(fault.message) from None
    return SessionSpec(
        name=call.params["RoleSessionName"],
        duration=call.params.get("DurationSeconds", _DEFAULT_DURATION),
        tags=tags,
        transitive_keys=transitive,
        source_identity=claims.source_identity,
    )


def token_error(fault: BadToken) -> ServiceError:
    """Return STS's error for a token that is not believed (landscape.md §1.8)."""
    if fault.reason == "expired":
        return ServiceError("ExpiredTokenException", fault.message)
    if fault.reason in _UNREADABLE:
        return _invalid(_NOT_A_JWT)
    if fault.reason == "unknown-key":
        return _invalid(_NO_KEY)
    if fault.reason == "wrong-audience":
        return _invalid("Incorrect token audience")
    if fault.reason == "many-audiences-no-azp":
        return _invalid("Token audience contains more than one audience while authorized party is not present")
    return _invalid(fault.message)


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidIdentityToken", message)


def _denied(refusal: Refusal) -> ServiceError:
    """Return STS's denial, which does not tell a stranger what exists; the hint goes to the plane's log."""
    if refusal.reason == "too-long":
        return ServiceError(
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )
    if refusal.reason == "role-not-in-token":
        return _invalid(refusal.sentence)
    actions = {"no-tag-session": "sts:TagSession", "no-set-source-identity": "sts:SetSourceIdentity"}
    action = actions.get(refusal.reason, "sts:AssumeRoleWithWebIdentity")
    why = "; ".join((refusal.sentence, *refusal.because))
    return ServiceError("AccessDenied", f"Not authorized to perform {action}", status=403, hint=why)

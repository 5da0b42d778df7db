"""Who signed this request? The signature, the session token and the expiry decide; nothing else is believed."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import msgspec

from rolecall.core.exchange import Request
from rolecall.core.names import AccountId, RoleArn
from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.principals import Principal, RoleSession, User
from rolecall.edges.aws.sigv4 import SignatureFault, Signed, verify
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Codes:
    """What a protocol calls each failure (AWS: Common Errors; query and JSON services differ)."""

    missing: str
    unknown_key: str
    mismatch: str
    incomplete: str
    expired: str


QUERY_CODES = Codes(
    "MissingAuthenticationToken",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "ExpiredToken",
)
JSON_CODES = Codes(
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "IncompleteSignatureException",
    "ExpiredTokenException",
)


def missing(codes: Codes) -> ServiceError:
    """Return the error for a request that carries no signature at all."""
    return ServiceError(codes.missing, "Request is missing Authentication Token", status=403)


def unreadable(codes: Codes, fault: SignatureFault) -> ServiceError:
    """Return the error for a signature that cannot be read."""
    return ServiceError(codes.incomplete, fault.message, status=400, hint=fault.hint)


def authenticate(tx: Tx, request: Request, signed: Signed, codes: Codes, now: float) -> Principal:
    """Return who signed, or raise `ServiceError` 403 with the code that AWS gives that failure.

    In this order: the key exists and is active, the session token is the one issued with it, the signature
    is right, the session has not expired, and its role still is the one it was issued for.
    """
    unknown = ServiceError(codes.unknown_key, "The security token included in the request is invalid.", status=403)
    user = tx.execute(
        "SELECT k.secret, u.name, u.arn, u.user_id FROM access_keys k JOIN users u ON u.name = k.user"
        " WHERE k.id = ? AND k.status = 'Active'",
        (signed.access_key_id,),
    ).fetchone()
    if user is not None:
        if signed.session_token is not None:
            raise unknown
        _verify(request, signed, Secret(user["secret"]), codes, now)
        account = AccountId(user["arn"].split(":")[4])
        return User(user["name"], user["arn"], user["user_id"], account)
    row = tx.execute("SELECT * FROM sessions WHERE access_key_id = ?", (signed.access_key_id,)).fetchone()
    if row is None or signed.session_token is None:
        raise unknown
    if not hmac.compare_digest(signed.session_token.digest(), row["token_digest"]):
        raise unknown
    _verify(request, signed, Secret(row["secret"]), codes, now)
    if now >= row["expires_at"]:
        raise ServiceError(codes.expired, "The security token included in the request is expired", status=403)
    still = tx.execute("SELECT 1 FROM roles WHERE role_id = ?", (row["role_id"],)).fetchone()
    if still is None:
        raise unknown
    return session_of(row)


def session_by_key(tx: Tx, access_key_id: str) -> RoleSession:
    """Return a session that was issued here, by its access key id."""
    return session_of(tx.execute("SELECT * FROM sessions WHERE access_key_id = ?", (access_key_id,)).fetchone())


def session_of(row: Row) -> RoleSession:
    """Return the session that a row of ``sessions`` describes."""
    role = RoleArn.parse(row["role_arn"])
    return RoleSession(
        arn=role.session(row["name"]),
        role=role,
        role_id=row["role_id"],
        name=row["name"],
        tags=msgspec.json.decode(row["tags"]),
        transitive_keys=frozenset(msgspec.json.decode(row["transitive_keys"])),
        source_identity=row["source_identity"],
        federated=msgspec.json.decode(row["federated"]),
    )


def _verify(request: Request, signed: Signed, secret: Secret, codes: Codes, now: float) -> None:
    try:
        verify(request, signed, secret=secret, now=now)
    except SignatureFault as fault:
        code = codes.incomplete if fault.reason in ("malformed", "incomplete") else codes.mismatch
        status = 400 if code == codes.incomplete else 403
        raise ServiceError(code, fault.message, status=status, hint=fault.hint) from None

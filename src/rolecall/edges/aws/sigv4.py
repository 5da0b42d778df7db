"""AWS Signature Version 4 in the Authorization header: sign, read, verify.

Source: IAM User Guide, "AWS Signature Version 4 for API requests". Pure functions; `now` is in epoch seconds.
What is signed stands in `sigv4_canonical`. The presigned (query) form is refused as ``unsupported``.

A server calls `parse_authorization`, looks the access key up, and then calls `verify`. It must hold
`Signed.session_token` against the session of that key itself: a signature does not prove the token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, replace

from rolecall.core.exchange import Request
from rolecall.core.secrets import Secret
from rolecall.edges.aws.sigv4_canonical import (
    ALGORITHM,
    TERMINATOR,
    SignatureFault,
    amz_date_of,
    canonical_request,
    check_target,
    scope_of,
    seconds_of,
    signature,
    string_to_sign,
)

__all__ = ["Explanation", "SignatureFault", "Signed", "explain", "parse_authorization", "sign", "verify"]

LONGEST_AUTHORIZATION = 8192
MOST_SIGNED_HEADERS = 100

# Proxies and HTTP libraries change these on the way, so `sign` leaves them out.
_UNSIGNED = frozenset(
    {"authorization", "connection", "content-length", "expect", "keep-alive", "te", "trailer"}
    | {"proxy-authenticate", "proxy-authorization", "transfer-encoding", "upgrade"}
    | {"user-agent", "x-amzn-trace-id"}
)
_ADDED = frozenset({"x-amz-date", "x-amz-security-token", "authorization"})
_ONCE = ("authorization", "host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
_MAY_BE_UNSIGNED = frozenset({"x-amz-user-agent"})  # the PHP SDK leaves it out; it decides nothing
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")
_PRESIGNED = re.compile(r"(?:^|&)x-amz-(?:algorithm|credential|signature)=", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SCOPE_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says about its signature. Nothing in it is believed before `verify`.

    `date` is the day in the credential scope, `amz_date` the time of signing (``20250830T123600Z``).
    """

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    amz_date: str
    session_token: Secret | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Both texts behind a signature. The canonical request may hold the session token: it is a `Secret`."""

    canonical_request: Secret
    string_to_sign: str


def sign(
    request: Request,
    *,
    access_key_id: str,
    secret: Secret,
    session_token: Secret | None,
    service: str,
    region: str,
    now: float,
) -> Request:
    """Return the request with x-amz-date, x-amz-security-token (where there is one) and authorization.

    Earlier values of these three are replaced, so that a retry can be signed again. The request must have its
    host header. Raises `SignatureFault` (``incomplete``, ``malformed``) for a request that cannot be signed.
    """
    amz_date = amz_date_of(now)
    headers = [(name, value) for name, value in request.headers if name not in _ADDED]
    headers.append(("x-amz-date", amz_date))
    if session_token:
        headers.append(("x-amz-security-token", session_token.reveal()))
    bare = replace(request, headers=tuple(headers))
    check_target(bare)
    names = tuple(sorted({name for name, _ in headers} - _UNSIGNED))
    if "host" not in names:
        raise SignatureFault("incomplete", "A request without a host header cannot be signed.")
    scope = scope_of(amz_date[:8], region, service)
    canonical = canonical_request(bare, names, service, _payload_hash(bare))
    found = signature(secret, amz_date[:8], region, service, string_to_sign(amz_date, scope, canonical))
    value = f"{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={found}"
    return replace(bare, headers=(*bare.headers, ("authorization", value)))


def parse_authorization(request: Request) -> Signed | None:
    """Return what the Authorization header says, or None where there is none.

    Raises `SignatureFault`: ``unsupported`` for a presigned query or another scheme, ``duplicate`` for a
    header or parameter given twice, ``incomplete`` for a missing part, ``malformed`` for an unreadable one.
    """
    if _PRESIGNED.search(request.query):
        raise SignatureFault(
            "unsupported",
            "Presigned requests are not supported.",
            hint="sign the request in its Authorization header",
        )
    value = request.header("authorization")
    if value is None:
        return None
    _refuse_duplicates(request)
    check_target(request)
    algorithm, _, rest = value.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise SignatureFault("unsupported", f"Unsupported AWS 'algorithm' (only {ALGORITHM} is accepted).")
    if len(value) > LONGEST_AUTHORIZATION:
        raise SignatureFault("malformed", f"The Authorization header is longer than {LONGEST_AUTHORIZATION} bytes.")
    parameters = _parameters(rest)
    amz_date = request.header("x-amz-date") or request.header("date")
    missing = [f"Authorization header requires '{name}' parameter." for name in _PARAMETERS if not parameters[name]]
    if not amz_date:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if missing or not amz_date:
        raise SignatureFault("incomplete", " ".join(missing))
    access_key_id, date, region, service = _credential(parameters["Credential"])
    token = request.header("x-amz-security-token")
    return Signed(
        access_key_id=access_key_id,
        date=date,
        region=region,
        service=service,
        signed_headers=_signed_headers(parameters["SignedHeaders"]),
        signature=parameters["Signature"],
        amz_date=amz_date.strip(),
        session_token=Secret(token.strip()) if token else None,
    )


def verify(request: Request, signed: Signed, *, secret: Secret, now: float, skew: float = 300.0) -> None:
    """Return if `secret` signed exactly this request within `skew` seconds of `now`.

    Else raises `SignatureFault`, in this order: ``unsigned-header`` (host and every x-amz-* header must be
    signed), ``malformed`` or ``scope-date``, ``clock-skew``, ``body-hash`` (also for UNSIGNED-PAYLOAD),
    ``signature-mismatch``.
    """
    _check_signed_headers(request, signed)
    _check_time(signed, now, skew)
    expected_hash = hashlib.sha256(request.body).hexdigest()
    stated_hash = request.header("x-amz-content-sha256")
    if stated_hash is not None and stated_hash.strip() != expected_hash:
        raise SignatureFault(
            "body-hash",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            hint="send the SHA-256 of the body; UNSIGNED-PAYLOAD and streaming signatures are not accepted",
        )
    check_target(request)
    canonical = canonical_request(request, signed.signed_headers, signed.service, expected_hash)
    scope = scope_of(signed.date, signed.region, signed.service)
    to_sign = string_to_sign(signed.amz_date, scope, canonical)
    computed = signature(secret, signed.date, signed.region, signed.service, to_sign)
    if not hmac.compare_digest(computed.encode("ascii"), signed.signature.encode("latin-1", "replace")):
        raise SignatureFault("signature-mismatch", _MISMATCH, hint=_absent(request, signed))


def explain(request: Request, signed: Signed) -> Explanation:
    """Return the texts that `verify` hashes, for a person who looks for the cause of a mismatch."""
    canonical = canonical_request(request, signed.signed_headers, signed.service, _payload_hash(request))
    scope = scope_of(signed.date, signed.region, signed.service)
    return Explanation(Secret(canonical.decode("latin-1")), string_to_sign(signed.amz_date, scope, canonical))


def _payload_hash(request: Request) -> str:
    return request.header("x-amz-content-sha256") or hashlib.sha256(request.body).hexdigest()


def _refuse_duplicates(request: Request) -> None:
    for name in _ONCE:
        if len(request.header_values(name)) > 1:
            raise SignatureFault("duplicate", f"The header '{name}' is given more than once.")


def _parameters(text: str) -> dict[str, str]:
    """Return Credential, Signature and SignedHeaders, empty where missing; unknown ones are passed over."""
    found: dict[str, str] = {}
    for piece in filter(None, map(str.strip, text.split(","))):
        name, equals, value = piece.partition("=")
        if not equals:
            raise SignatureFault(
                "incomplete",
                "A part of the Authorization header is not a valid key=value pair (missing equal-sign).",
            )
        if name in found:
            raise SignatureFault("duplicate", f"Authorization header has '{name[:40]}' more than once.")
        found[name] = value
    return {name: found.get(name, "") for name in _PARAMETERS}


def _credential(text: str) -> tuple[str, str, str, str]:
    parts = text.split("/")
    if len(parts) != 5:
        raise SignatureFault(
            "incomplete",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{text[:200]}'",
        )
    key_id, date, region, service, terminator = parts
    if terminator != TERMINATOR:
        raise SignatureFault(
            "malformed",
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator[:40]}'.",
        )
    if not _KEY_ID.fullmatch(key_id) or not all(map(_SCOPE_PART.fullmatch, (date, region, service))):
        raise SignatureFault("malformed", f"Credential has an element that is not a name: '{text[:200]}'")
    return key_id, date, region, service


def _signed_headers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if len(names) > MOST_SIGNED_HEADERS:
        raise SignatureFault("malformed", f"SignedHeaders has more than {MOST_SIGNED_HEADERS} names.")
    if not all(map(_HEADER_NAME.fullmatch, names)) or list(names) != sorted(set(names)):
        raise SignatureFault("malformed", "SignedHeaders must be lower-case header names, sorted, each one once.")
    return names


def _check_signed_headers(request: Request, signed: Signed) -> None:
    if "host" not in signed.signed_headers:
        raise SignatureFault(
            "unsigned-header", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    for name, _ in request.headers:
        if name.startswith("x-amz-") and name not in signed.signed_headers and name not in _MAY_BE_UNSIGNED:
            raise SignatureFault("unsigned-header", f"'{name[:64]}' must be a 'SignedHeader' in the AWS Authorization.")


def _check_time(signed: Signed, now: float, skew: float) -> None:
    at = seconds_of(signed.amz_date)
    if signed.amz_date[:8] != signed.date:
        raise SignatureFault(
            "scope-date",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{signed.date}' != '{signed.amz_date[:8]}', from '{signed.amz_date}'.",
        )
    here, minutes = amz_date_of(now), f"{skew / 60:g} min."
    if at < now - skew:
        earliest = amz_date_of(now - skew)
        raise SignatureFault(
            "clock-skew",
            f"Signature expired: {signed.amz_date} is now earlier than {earliest} ({here} - {minutes})",
            hint="set the clock of the machine that signs, or sign again",
        )
    if at > now + skew:
        latest = amz_date_of(now + skew)
        raise SignatureFault(
            "clock-skew",
            f"Signature not yet current: {signed.amz_date} is still later than {latest} ({here} + {minutes})",
            hint="set the clock of the machine that signs",
        )


def _absent(request: Request, signed: Signed) -> str:
    """Say which signed headers did not arrive: the usual work of a proxy between client and server."""
    arrived = {name for name, _ in request.headers}
    lost = [name for name in signed.signed_headers if name not in arrived]
    return f"signed headers that did not arrive: {', '.join(lost)}" if lost else ""

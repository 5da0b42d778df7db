"""The agent's door, ``GET /v1/credentials``: bytes in, an Ask out; Issued in, bytes out.

Byte for byte what AWS's agent says (aws-pod-identity.md §1.2-1.5), but that

- only GET and HEAD are taken, and a path is matched as it was sent, never redirected;
- credentials are marked ``no-store``;
- an upstream that cannot be reached is named instead of answered with ``[]``;
- what upstream says of the agent (403) is 500 for the pod, which has no part in it;
- a token over 64 KiB, one with a spelling that its signer did not write (base64url with left-over bits, a header
  that names something twice) or with a signature that is not base64url is refused here: EKS Auth would refuse it.

Nothing in a token is believed here: its shape and times are looked at so that a hopeless one costs nobody a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.core.tokens.jws import Jws, NotAJws, split
from rolecall.errors import BadInput, Refused, RolecallError, ServiceError, UpstreamAnswered

PATH = "/v1/credentials"
LONGEST_TOKEN = 65_536
_PLAIN = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_JSON = (("content-type", "application/json"), ("cache-control", "no-store"))
_ALGORITHMS = frozenset(
    {f"{family}{size}" for family in ("HS", "RS", "ES", "PS") for size in (256, 384, 512)} | {"EdDSA", "none"}
)
# RFC 7519's registered claims in their types; a time may be a number in a string, as in Go.
_TEXTS = ("iss", "sub", "jti")
_TIMES = ("exp", "nbf", "iat")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")
_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::[0-9]*)?")
_MALFORMED = "Service account token cannot be parsed: token is malformed: "
_UNVERIFIABLE = "Service account token cannot be parsed: token is unverifiable: "


def parse(request: Request, *, allowed_hosts: Collection[str], now: float) -> Ask | Reply:
    """Return what is asked for, or the reply that refuses it. `now` is compared with exp and nbf, no leeway.

    `allowed_hosts` are the addresses that the door is bound to: a web page that was rebound to them by DNS
    still sends its own name.
    """
    if request.path != PATH:
        return _text(404, "404 page not found", "not-found")
    if request.method not in ("GET", "HEAD"):
        return Reply(405, b"use GET\n", (*_PLAIN, ("allow", "GET, HEAD")), "method")
    host = _host(request.header("host") or "")
    if host not in allowed_hosts:
        shown = " ".join(sorted(allowed_hosts))
        return _text(
            403,
            "Access Denied. Called agent through invalid address, please use either "
            f"[{shown}] address not {host[:100]}",
            "host",
        )
    token = (request.header("authorization") or "").strip()
    if not token:
        return _text(400, "Service account token cannot be empty", "no-token")
    try:
        jws = split(token, longest=LONGEST_TOKEN)
    except NotAJws as fault:
        return _text(400, _MALFORMED + _malformed(fault), "malformed-token")
    found = _claims_fault(jws, now)
    return Ask(token=_secret(token, request.raw), peer=request.peer) if found is None else _text(400, *found)


def _secret(token: str, raw: bytes) -> Secret:
    """Return the token as a part of the request's bytes where it is most of them: a door may keep those anyway."""
    text = token.encode()
    at = raw.find(text) if len(raw) < 2 * len(text) else -1
    return Secret(token) if at < 0 else Secret.within(raw, at, at + len(text))


def token_ends(ask: Ask) -> float | None:
    """Return when the ask's token says that it expires, unbelieved; None where it does not say."""
    return _time(payload_of(ask).get("exp"))


def payload_of(ask: Ask) -> Mapping[str, Any]:
    """Return the claims of the ask's token, unbelieved; nothing where it has none."""
    if ask.token is None:
        return {}
    try:
        return split(ask.token.reveal(), longest=LONGEST_TOKEN).payload
    except NotAJws:
        return {}


def payload_in(request: Request) -> Mapping[str, Any]:
    """Return the claims of a request's token, unbelieved; nothing where it has none, or one that cannot be read."""
    token = (request.header("authorization") or "").strip()
    return payload_of(Ask(token=Secret(token))) if token else {}


def render(issued: Issued) -> Reply:
    """Return the credentials as every SDK reads them: five keys, in AWS's order, without a newline."""
    credentials = issued.credentials
    found = {
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key.reveal(),
        "Token": credentials.session_token.reveal(),
        "AccountId": str(credentials.account),
        "Expiration": datetime.fromtimestamp(int(credentials.expires_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    for letter in "&<>":  # as Go's encoder writes them
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Reply(200, text.encode(), _JSON)


def render_error(error: RolecallError) -> Reply:
    """Return the error as AWS's agent says it: text, with the status that decides whether an SDK tries again."""
    if isinstance(error, UpstreamAnswered):
        # A redirect or an empty success is not an answer to pass on: a client would follow it, or believe it.
        status = error.status if 400 <= error.status < 600 else 502
        fault = "client" if status < 500 else "server"
        if error.about_the_asker:  # the pod did nothing wrong, and may come again: SDKs do after a 500
            status, fault = 500, "agent"
        return _retried(_text(status, f"[{error.request_id}]: ({error.code}): {error.message}, fault: {fault}"))
    if isinstance(error, ServiceError):
        return _retried(_text(error.status, error.message))
    if isinstance(error, BadInput | Refused):
        return _text(400, error.message)
    return _text(500, f"error getting credentials: {error.message}")


def _retried(reply: Reply) -> Reply:
    """Say when to come again, to whoever heeds it, where coming again may help."""
    if reply.status not in (429, 503):
        return reply
    return replace(reply, headers=(*reply.headers, ("retry-after", "1")))


def _text(status: int, text: str, reason: str = "") -> Reply:
    return Reply(status, f"{text}\n".encode("utf-8", "replace"), _PLAIN, reason)


def _host(host: str) -> str:
    """Return the Host header without port and brackets; what has no such form is left as it is."""
    found = _HOST.fullmatch(host)
    return host if found is None else found[1] or found[2] or ""


def _malformed(fault: NotAJws) -> str:
    part = "claim" if fault.part == "payload" else fault.part
    match fault.reason:
        case "bad-base64":
            return f"could not base64 decode {part}: illegal base64 data at input byte {fault.at}"
        case "bad-json":
            return f"could not JSON decode {part}: {fault.message}"
        case "too-long":
            return fault.message
        case _:
            return "token contains an invalid number of segments"


def _claims_fault(jws: Jws, now: float) -> tuple[str, str] | None:
    """Return what is wrong with a token in words, and in one word."""
    algorithm = jws.header.get("alg")
    if not isinstance(algorithm, str):
        return _UNVERIFIABLE + "signing method (alg) is unspecified", "malformed-token"
    if algorithm not in _ALGORITHMS:
        return _UNVERIFIABLE + "signing method (alg) is unavailable", "malformed-token"
    wrong = _wrong_type(jws.payload)
    if wrong is not None:
        return _MALFORMED + f"could not JSON decode claim: {wrong} is not of its type", "malformed-token"
    exp, nbf = _time(jws.payload.get("exp")), _time(jws.payload.get("nbf"))
    faults = ["token is expired"] if exp is not None and now >= exp else []
    faults += ["token is not valid yet"] if nbf is not None and now < nbf else []
    if not faults:
        return None
    word = "expired-token" if faults[0] == "token is expired" else "early-token"
    return f"Service account token failed basic claim validations: {', '.join(faults)}", word


def _wrong_type(payload: Mapping[str, Any]) -> str | None:
    """Return the name of a registered claim that does not have its type; null is as good as absent."""
    for name in _TEXTS:
        if not isinstance(payload.get(name), str | None):
            return name
    for name in _TIMES:
        if payload.get(name) is not None and _time(payload[name]) is None:
            return name
    audiences = payload.get("aud")
    listed = audiences if isinstance(audiences, list) else [audiences]
    return None if audiences is None or all(isinstance(one, str) for one in listed) else "aud"


def _time(value: object) -> float | None:
    """Return a time, given as a number or as a number's text; None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond any float: a time that never comes
        return None

"""The agent's door, ``GET /v1/credentials``: bytes in, an Ask out; Issued in, bytes out.

Byte for byte what AWS's agent says (aws-pod-identity.md §1.2-1.5), but for two things: only GET and HEAD are
taken, and an upstream that cannot be reached is named instead of answered with ``[]``. Nothing in a token is
believed here: its shape and times are looked at so that a hopeless one costs nobody a call.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.core.tokens.jws import Jws, NotAJws, split
from rolecall.errors import BadInput, RolecallError, ServiceError, UpstreamAnswered

PATH = "/v1/credentials"
LONGEST_TOKEN = 65_536
_PLAIN = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_JSON = (("content-type", "application/json"), ("cache-control", "no-store"))
_ALGORITHMS = frozenset(
    {f"{family}{size}" for family in ("HS", "RS", "ES", "PS") for size in (256, 384, 512)} | {"EdDSA", "none"}
)
_MALFORMED = "Service account token cannot be parsed: token is malformed: "
_UNVERIFIABLE = "Service account token cannot be parsed: token is unverifiable: "


def parse(request: Request, *, allowed_hosts: Collection[str], now: float) -> Ask | Reply:
    """Return what is asked for, or the reply that refuses it. `now` is compared with exp and nbf, no leeway.

    `allowed_hosts` are the addresses that the door is bound to: a web page that was rebound to them by DNS
    still sends its own name.
    """
    if request.path != PATH:
        return _text(404, "404 page not found")
    if request.method not in ("GET", "HEAD"):
        return Reply(405, b"use GET\n", (*_PLAIN, ("allow", "GET, HEAD")))
    host = _host(request.header("host") or "")
    if host not in allowed_hosts:
        shown = " ".join(sorted(allowed_hosts))
        return _text(
            403,
            "Access Denied. Called agent through invalid address, please use either "
            f"[{shown}] address not {host[:100]}",
        )
    token = (request.header("authorization") or "").strip()
    if not token:
        return _text(400, "Service account token cannot be empty")
    try:
        jws = split(token, longest=LONGEST_TOKEN)
    except NotAJws as fault:
        return _text(400, _MALFORMED + _malformed(fault))
    fault_text = _claims_fault(jws, now)
    return Ask(token=Secret(token), peer=request.peer) if fault_text is None else _text(400, fault_text)


def token_ends(ask: Ask) -> float | None:
    """Return when the ask's token says that it expires, unbelieved; None where it does not say."""
    payload = payload_of(ask)
    exp = payload.get("exp")
    return float(exp) if isinstance(exp, int | float) and not isinstance(exp, bool) else None


def payload_of(ask: Ask) -> Mapping[str, Any]:
    """Return the claims of the ask's token, unbelieved; nothing where it has none."""
    if ask.token is None:
        return {}
    try:
        return split(ask.token.reveal(), longest=LONGEST_TOKEN).payload
    except NotAJws:
        return {}


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
        fault = "client" if error.status < 500 else "server"
        return _text(error.status, f"[{error.request_id}]: ({error.code}): {error.message}, fault: {fault}")
    if isinstance(error, ServiceError):
        reply = _text(error.status, error.message)
        retry = (("retry-after", "1"),) if error.status in (429, 503) else ()
        return Reply(reply.status, reply.body, (*reply.headers, *retry))
    if isinstance(error, BadInput):
        return _text(400, error.message)
    return _text(500, f"error getting credentials: {error.message}")


def _text(status: int, text: str) -> Reply:
    return Reply(status, f"{text}\n".encode(), _PLAIN)


def _host(host: str) -> str:
    """Return the Host header without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and ":" not in name and port.isdigit() else host


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


def _claims_fault(jws: Jws, now: float) -> str | None:
    algorithm = jws.header.get("alg")
    if not isinstance(algorithm, str):
        return _UNVERIFIABLE + "signing method (alg) is unspecified"
    if algorithm not in _ALGORITHMS:
        return _UNVERIFIABLE + "signing method (alg) is unavailable"
    faults = []
    for name in ("exp", "nbf"):
        value = jws.payload.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            return _MALFORMED + f"could not JSON decode claim: {name} is not a number"
        if name == "exp" and now >= value:
            faults.append("token is expired")
        if name == "nbf" and now < value:
            faults.append("token is not valid yet")
    return f"Service account token failed basic claim validations: {', '.join(faults)}" if faults else None

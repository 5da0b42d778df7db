"""The compact form of a JSON Web Signature, taken apart and believed in nothing (RFC 7515 §7.1).

No cryptography here: the agent reads tokens with this module and must stay small.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rolecall.errors import BadToken

LONGEST_TOKEN = 20_000  # STS API Reference, AssumeRoleWithWebIdentity, WebIdentityToken
Part = Literal["token", "header", "payload", "signature"]
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


class NotAJws(BadToken):
    """A token that is not a JWS. `part` says where the fault is, `at` the first bad base64 character."""

    def __init__(self, reason: str, message: str, *, part: Part = "token", at: int = 0) -> None:
        super().__init__(reason, message)
        self.part = part
        self.at = at


@dataclass(frozen=True, slots=True)
class Jws:
    """The parts of a token. `signing_input` is what `signature` was made over."""

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "Jws(…)"


def split(token: str, *, longest: int = LONGEST_TOKEN) -> Jws:
    """Return the parts, or raise `NotAJws`.

    Reasons: ``empty``, ``too-long`` (characters), ``not-a-jws`` (not three parts), ``bad-base64`` (unpadded
    base64url only), ``bad-json`` (header and payload are JSON objects; the header names nothing twice).
    """
    if not token:
        raise NotAJws("empty", "the token is empty")
    if len(token) > longest:
        raise NotAJws("too-long", f"the token is longer than {longest} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise NotAJws("not-a-jws", "the token does not have three parts separated by dots")
    header = _json_object(_decoded(parts[0], "header"), "header")
    payload = _json_object(_decoded(parts[1], "payload"), "payload")
    signature = _decoded(parts[2], "signature")
    return Jws(header, payload, f"{parts[0]}.{parts[1]}".encode(), signature)


def _decoded(text: str, part: Part) -> bytes:
    good = _BASE64URL.match(text)
    assert good is not None
    at = good.end()
    if at != len(text) or len(text) % 4 == 1:
        raise NotAJws("bad-base64", f"the token's {part} is not base64url", part=part, at=min(at, len(text)))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise NotAJws("bad-base64", f"the token's {part} is not base64url", part=part, at=len(text)) from None


def _json_object(text: bytes, part: Part) -> Mapping[str, Any]:
    hook = _once if part == "header" else None
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=hook, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise NotAJws("bad-json", f"the token's {part} is not JSON", part=part) from None
    if not isinstance(found, dict):
        raise NotAJws("bad-json", f"the token's {part} is not a JSON object", part=part)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that is given twice: which of the two would count (RFC 7515 §4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)

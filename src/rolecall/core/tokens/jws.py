"""The compact form of a JSON Web Signature, taken apart and believed in nothing (RFC 7515 §7.1).

No cryptography here: the agent reads tokens with this module and must stay small.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rolecall.errors import BadToken

LONGEST_TOKEN = 20_000  # STS API Reference, AssumeRoleWithWebIdentity, WebIdentityToken
Part = Literal["token", "header", "payload", "signature"]
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


class NotBelieved(BadToken):
    """A token that failed a step of `rolecall.core.tokens.verify`; `claim` names the claim at fault, if one is."""

    def __init__(self, step: int, reason: str, message: str, *, claim: str = "", hint: str = "") -> None:
        super().__init__(reason, message, hint=hint)
        self.step = step
        self.claim = claim


class NotAJws(NotBelieved):
    """A token that is not a JWS, which is step 1.

    `part` says where the fault is; `at` is the offset in it of the first character that is not base64url,
    or of the last one where the length or the unused bits are wrong.
    """

    def __init__(self, reason: str, message: str, *, part: Part = "token", at: int = 0) -> None:
        super().__init__(1, reason, message)
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
    """Return the parts, or raise `NotAJws`; no text makes it raise anything else.

    Reasons: ``empty``, ``too-long`` (characters), ``not-a-jws`` (not three parts), ``bad-base64`` (unpadded
    base64url only, unused bits zero: a token has one spelling), ``bad-json`` (header and payload are JSON
    objects in UTF-8; the header names nothing twice, in the payload the last of two counts, as in STS).
    """
    if not token:
        raise NotAJws("empty", "the token is empty")
    if len(token) > longest:
        raise NotAJws("too-long", f"the token is longer than {longest} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise NotAJws("not-a-jws", "the token does not have three parts separated by dots")
    header_text = _decoded(parts[0], "header")
    header = _json_object(header_text, "header")
    _refuse_duplicates(header_text)
    payload = _json_object(_decoded(parts[1], "payload"), "payload")
    signature = _decoded(parts[2], "signature")
    return Jws(header, payload, f"{parts[0]}.{parts[1]}".encode("ascii"), signature)


def _decoded(text: str, part: Part) -> bytes:
    good = _BASE64URL.match(text)
    assert good is not None, "the pattern matches the empty string"
    at = good.end()
    if at == len(text) and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if len(text) % 4 == 0 or base64.urlsafe_b64encode(data).rstrip(b"=") == text.encode("ascii"):
            return data
    at = at if at < len(text) else len(text) - 1
    raise NotAJws("bad-base64", f"the token's {part} is not unpadded base64url", part=part, at=at)


def _json_object(text: bytes, part: Part) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAJws("bad-json", f"the token's {part} is not JSON", part=part) from None
    if not isinstance(found, dict):
        raise NotAJws("bad-json", f"the token's {part} is not a JSON object", part=part)
    return found


def _refuse_duplicates(header: bytes) -> None:
    """Refuse a header that names something twice: which of the two would count (RFC 7515 §4)."""
    try:
        json.loads(header.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        fault = "the token's header names something twice"
        raise NotAJws("bad-json", fault, part="header") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found

"""IMDSv2's session tokens, our own: each says when it ends, and is signed for whoever asked for it.

A token that left its pod opens nothing elsewhere (requirement R-5): the signature covers the source, which is not in
the token. No token of the node's own service is ever passed on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

from rolecall.core.secrets import Secret

SHORTEST, LONGEST = 1, 21_600
"""Seconds that a token may live (EC2 User Guide, "Use the Instance Metadata Service")."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{56}", re.ASCII)  # as long as EC2's
_TTL = re.compile(r"[0-9]{1,5}", re.ASCII)
_END = 8
_SIGNATURE = 34  # bytes, with the end 42: no left-over bits in base64


def ttl_of(text: str | None) -> int | None:
    """Return the seconds that a client asks for, or None where that is no whole number from 1 to 21,600."""
    if text is None or not _TTL.fullmatch(text) or not SHORTEST <= int(text) <= LONGEST:
        return None
    return int(text)


def mint(key: Secret, source: str, *, now: float, ttl: int) -> Secret:
    """Return a token for `source`: an address, and who was there when it asked. It ends `ttl` seconds from now."""
    end = int(now + ttl).to_bytes(_END, "big")
    return Secret(base64.urlsafe_b64encode(end + _signature(key, source, end)).decode("ascii"))


def seconds_left(key: Secret, source: str, token: str, *, now: float) -> float:
    """Return how long a token is good for; 0 where it has ended, is another source's, or is none of ours."""
    if not _TOKEN.fullmatch(token):
        return 0.0
    try:
        raw = base64.urlsafe_b64decode(token)
    except binascii.Error:
        return 0.0
    end, signature = raw[:_END], raw[_END:]
    if not hmac.compare_digest(signature, _signature(key, source, end)):
        return 0.0
    return max(0.0, int.from_bytes(end, "big") - now)


def _signature(key: Secret, source: str, end: bytes) -> bytes:
    said = b"imds-session-token\0" + end + source.encode("utf-8", "surrogatepass")
    return hmac.new(key.reveal().encode(), said, hashlib.sha384).digest()[:_SIGNATURE]

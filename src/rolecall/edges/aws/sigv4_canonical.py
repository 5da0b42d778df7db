"""The text that AWS Signature Version 4 signs, and the key that signs it.

Source: IAM User Guide, "Create a signed AWS API request". Everything here works on the raw request target
and on header text as latin-1 decodes it (RFC 9110 §5.5), so that exactly the bytes that travelled are hashed.
Nothing here knows where the signature stands, so that the query form can use the same functions.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

from rolecall.core.exchange import Request
from rolecall.core.secrets import Secret
from rolecall.errors import BadInput

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"

_BLANKS = re.compile(r"[ \t]+")
_RAW_TARGET = re.compile(r"/[!-~]*")
_BASIC = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z", re.ASCII)


class SignatureFault(BadInput):
    """A signed request that is not accepted.

    `reason` is one of: ``incomplete``, ``malformed``, ``unsupported``, ``duplicate``, ``unsigned-header``,
    ``scope-date``, ``clock-skew``, ``body-hash``, ``signature-mismatch``. `message` is AWS's sentence where
    AWS has one, fit to be sent to the client; it never holds a secret or a signature.
    """

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


def canonical_request(request: Request, signed_headers: Sequence[str], service: str, payload_hash: str) -> bytes:
    """Return the canonical request over `signed_headers` (lower-case, sorted names).

    The result may hold the session token: it is never logged or put into an error.
    """
    return b"\n".join(
        (
            request.method.encode("ascii"),
            canonical_path(request.path, service),
            canonical_query(request.query),
            *(_canonical_header(request, name) for name in signed_headers),
            b"",
            ";".join(signed_headers).encode("ascii"),
            payload_hash.encode("ascii", "replace"),
        )
    )


def canonical_path(raw_path: str, service: str) -> bytes:
    """Return the path as it is signed.

    S3 signs the path as sent. The others remove empty and dot segments and percent-encode the already
    encoded path once more, so that ``%3A`` is signed as ``%253A``.
    """
    if service == "s3":
        return raw_path.encode("ascii")
    kept: list[str] = []
    for segment in raw_path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    tail = "/" if kept and raw_path.endswith("/") else ""
    return quote_from_bytes(f"/{'/'.join(kept)}{tail}".encode("ascii"), safe="/~").encode("ascii")


def canonical_query(raw_query: str) -> bytes:
    """Return the query decoded, encoded again in AWS's way, and sorted by key, then by value.

    A plus sign is a plus sign, not a blank.
    """
    if not raw_query:
        return b""
    pairs = (piece.partition("=") for piece in raw_query.split("&"))
    return "&".join(
        f"{key}={value}" for key, value in sorted((_encoded(key), _encoded(value)) for key, _, value in pairs)
    ).encode("ascii")


def _encoded(text: str) -> str:
    return quote_from_bytes(unquote_to_bytes(text), safe="~")


def _canonical_header(request: Request, name: str) -> bytes:
    values = (_BLANKS.sub(" ", value).strip(" ") for value in request.header_values(name))
    return f"{name}:{','.join(values)}".encode("latin-1")


def string_to_sign(amz_date: str, scope: str, canonical: bytes) -> str:
    """Return the string to sign: `amz_date` is the time of signing, `scope` the credential scope."""
    return "\n".join((ALGORITHM, amz_date, scope, hashlib.sha256(canonical).hexdigest()))


def scope_of(date: str, region: str, service: str) -> str:
    """Return the credential scope, such as ``20250830/us-west-2/sts/aws4_request``."""
    return "/".join((date, region, service, TERMINATOR))


def signature(secret: Secret, date: str, region: str, service: str, to_sign: str) -> str:
    """Return the signature in lower-case hexadecimal."""
    return hmac.new(_signing_key(secret, date, region, service), to_sign.encode("ascii"), hashlib.sha256).hexdigest()


@lru_cache(maxsize=256)  # four HMACs a request are saved; a key is good for one day, region and service
def _signing_key(secret: Secret, date: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.reveal().encode("utf-8", "surrogatepass")
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode("ascii"), "sha256")
    return key


def check_target(request: Request) -> None:
    """Raise `SignatureFault` where target or headers are not what a request on the wire may hold."""
    if not request.method.isascii() or not _RAW_TARGET.fullmatch(request.target):
        raise SignatureFault(
            "malformed", "The request target is not a path: it starts with '/' and is percent-encoded."
        )
    if any(ord(letter) > 255 for _, value in request.headers for letter in value):
        raise SignatureFault("malformed", "A header value holds characters that HTTP cannot carry.")


def amz_date_of(now: float) -> str:
    """Return epoch seconds in ISO 8601 basic form: ``20250830T123600Z``."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y%m%dT%H%M%SZ")


def seconds_of(amz_date: str) -> float:
    """Return epoch seconds for ``20250830T123600Z``; other forms are a `SignatureFault` (``malformed``)."""
    found = _BASIC.fullmatch(amz_date)
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = map(int, found.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        raise SignatureFault(
            "malformed",
            f"Date must be in ISO-8601 'basic format'. Got '{amz_date[:40]}'. See http://en.wikipedia.org/wiki/ISO_8601",
        ) from None

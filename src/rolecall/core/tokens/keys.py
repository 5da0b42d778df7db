"""Public keys of an issuer: JSON Web Keys in, the right key out (RFC 7517, RFC 7518).

What makes a key unusable follows STS as it was measured (landscape.md §1.2): no ``kid``, ``use`` other than
``sig``, any ``key_ops``, RSA below 2,048 bits, ``x5c`` without ``n`` and ``e`` or of another key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolecall.core.tokens.jws import NotBelieved
from rolecall.errors import BadInput

LONGEST_JWKS = 1024 * 1024
MOST_KEYS = 100
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_NUMBER = 1366  # characters of 8,192 bits; a longer modulus only costs time
_CURVES: Mapping[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
    "P-521": (ec.SECP521R1(), 66),
}


@dataclass(frozen=True, slots=True)
class Keyset:
    """Usable keys by their ids."""

    keys: Mapping[str, PublicKey]

    def choose(self, kid: str | None) -> PublicKey:
        """Return the key that `kid` names; without one, or with an empty one, the only key.

        Raises `NotBelieved` ``unknown-key``. Kubernetes before 1.16 wrote empty ids.
        """
        if not kid and len(self.keys) == 1:
            return next(iter(self.keys.values()))
        found = self.keys.get(kid) if kid else None
        if found is None:
            which = f"the key {kid[:80]!r}" if kid else "a key without an id"
            raise NotBelieved(
                3,
                "unknown-key",
                f"the token is signed with {which}, which its issuer does not publish",
                hint="was the issuer's key rotated before the new one was published?",
            )
        return found


def parse_jwks(text: bytes) -> Keyset:
    """Return the usable keys of a JSON Web Key Set; a later key replaces an earlier one of the same id.

    Unusable keys are left out. Of a type with more than 100 keys all are, as in STS; the other type's stay.
    Raises `BadInput` for a document that is none: over 1 MiB, not JSON, no list ``keys``.
    """
    if len(text) > LONGEST_JWKS:
        raise BadInput(f"the key set is larger than {LONGEST_JWKS} bytes")
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadInput("the key set is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise BadInput('the key set has no list "keys"')
    typed = [entry for entry in entries if isinstance(entry, dict) and entry.get("kty") in ("RSA", "EC")]
    counts = Counter(entry["kty"] for entry in typed)
    found: dict[str, PublicKey] = {}
    for entry in typed:
        if counts[entry["kty"]] <= MOST_KEYS and _may_verify(entry) and (key := _key_or_none(entry)) is not None:
            found[entry["kid"]] = key
    return Keyset(found)


def kid_for(key: PublicKey) -> str:
    """Return the id that kube-apiserver gives a key: base64url SHA-256 of its SubjectPublicKeyInfo."""
    return _base64url(hashlib.sha256(_der(key)).digest())


def to_jwk(key: PublicKey, *, kid: str, alg: str) -> dict[str, str]:
    """Return the JSON Web Key of a public key."""
    common = {"kid": kid, "use": "sig", "alg": alg}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e), **common}
    curve, size = next((name, size) for name, (kind, size) in _CURVES.items() if kind.name == key.curve.name)
    point = key.public_numbers()
    x, y = (_base64url(value.to_bytes(size, "big")) for value in (point.x, point.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y, **common}


def _may_verify(entry: Mapping[str, Any]) -> bool:
    kid = entry.get("kid")
    return isinstance(kid, str) and kid != "" and "key_ops" not in entry and entry.get("use", "sig") == "sig"


def _key_or_none(entry: Mapping[str, Any]) -> PublicKey | None:
    """Return the key, or None where its parts are missing, of other types, or no key."""
    try:
        key: PublicKey = _read_rsa(entry) if entry["kty"] == "RSA" else _read_ec(entry)
        if "x5c" in entry:
            certificate = x509.load_der_x509_certificate(base64.b64decode(entry["x5c"][0], validate=True))
            if _der(certificate.public_key()) != _der(key):
                return None
    except (LookupError, TypeError, ValueError, UnsupportedAlgorithm):
        return None
    return key


def _read_rsa(entry: Mapping[str, Any]) -> PublicKey:
    modulus, exponent = _number(entry["n"]), _number(entry["e"])
    if modulus.bit_length() < 2048 or exponent.bit_length() > 64:
        raise ValueError("too short a modulus, or too long an exponent")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _read_ec(entry: Mapping[str, Any]) -> PublicKey:
    curve, size = _CURVES[entry["crv"]]
    x, y = (_octets(entry[name]) for name in "xy")
    if len(x) != size or len(y) != size:  # RFC 7518 §6.2.1.2
        raise ValueError("a coordinate is not of the curve's size")
    point = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    return point.public_key()


def _number(text: Any) -> int:
    return int.from_bytes(_octets(text), "big")


def _octets(text: Any) -> bytes:
    if not isinstance(text, str) or len(text) > _LONGEST_NUMBER or not _BASE64URL.fullmatch(text):
        raise ValueError("not unpadded base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as fault:
        raise ValueError("not unpadded base64url") from fault


def _integer(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _der(key: Any) -> bytes:
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""Public keys of an issuer: JSON Web Keys in, the right key out (RFC 7517, RFC 7518).

What makes a key unusable follows STS as it was measured (landscape.md §1.2): no ``kid``, ``use`` other than
``sig``, any ``key_ops``, RSA below 2,048 bits, x5c without n and e.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolecall.errors import BadInput, BadToken

LONGEST_JWKS = 1024 * 1024
MOST_KEYS = 100
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

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
        """Return the key that `kid` names; without one, the only key. Raises `BadToken` ``unknown-key``."""
        if kid is None and len(self.keys) == 1:
            return next(iter(self.keys.values()))
        found = None if kid is None else self.keys.get(kid)
        if found is None:
            which = "a key without an id" if kid is None else f"the key {kid[:80]!r}"
            raise BadToken(
                "unknown-key",
                f"the token is signed with {which}, which its issuer does not publish",
                hint="was the issuer's key rotated before the new one was published?",
            )
        return found


def parse_jwks(text: bytes) -> Keyset:
    """Return the usable keys of a JSON Web Key Set; a later key replaces an earlier one of the same id.

    Raises `BadInput` for a document that is none: over 1 MiB, not JSON, no ``keys``, more than 100 RSA or
    100 EC keys. Unusable keys are left out.
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
    for kind in ("RSA", "EC"):
        if sum(isinstance(entry, dict) and entry.get("kty") == kind for entry in entries) > MOST_KEYS:
            raise BadInput(f"the key set has more than {MOST_KEYS} {kind} keys")
    found: dict[str, PublicKey] = {}
    for entry in entries:
        key = _read(entry) if isinstance(entry, dict) else None
        if key is not None:
            found[entry["kid"]] = key
    return Keyset(found)


def kid_for(key: PublicKey) -> str:
    """Return the id that kube-apiserver gives a key: base64url SHA-256 of its SubjectPublicKeyInfo."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _base64url(hashlib.sha256(der).digest())


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


def _read(entry: Mapping[str, Any]) -> PublicKey | None:
    kid = entry.get("kid")
    if not isinstance(kid, str) or "key_ops" in entry or entry.get("use", "sig") != "sig":
        return None
    try:
        if entry.get("kty") == "RSA":
            key = rsa.RSAPublicNumbers(_number(entry["e"]), _number(entry["n"])).public_key()
            return key if key.key_size >= 2048 else None
        if entry.get("kty") == "EC":
            curve, _ = _CURVES[entry["crv"]]
            return ec.EllipticCurvePublicNumbers(_number(entry["x"]), _number(entry["y"]), curve).public_key()
    except (KeyError, TypeError, ValueError):
        return None
    return None


def _number(text: Any) -> int:
    if not isinstance(text, str) or len(text) > 1400:
        raise ValueError("not a number")
    try:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
    except binascii.Error as fault:
        raise ValueError("not base64url") from fault


def _integer(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

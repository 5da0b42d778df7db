"""Keys made for this run, and tokens made with PyJWT: nothing here signs or encodes with the code under test."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from rolecall.core.tokens.keys import Keyset, parse_jwks

NOW = 1_790_000_000
ISSUER = "https://oidc.example.test/id/A1"
PUBLISHED: Mapping[str, Mapping[str, str]] = {"rsa": {}, "p256": {}, "p384": {}, "p521": {}}


def b64(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_for(door: str) -> dict[str, Any]:
    """Return the claims of a good service-account token for a door, as a 1.32 API server writes them."""
    return {
        "aud": ["client-a"] if door == "sts" else ["pods.eks.amazonaws.com"],
        "exp": NOW + 3600,
        "iat": NOW - 600,
        "iss": ISSUER,
        "jti": "6a1f1a1e-7d0c-4c62-9d3e-0c0f5c2d7b11",
        "kubernetes.io": {
            "namespace": "demo-ns",
            "node": {"name": "node-1", "uid": "n-1"},
            "pod": {"name": "demo-5d9c", "uid": "p-1"},
            "serviceaccount": {"name": "demo-sa", "uid": "s-1"},
        },
        "nbf": NOW - 600,
        "sub": "system:serviceaccount:demo-ns:demo-sa",
    }


def _new_keys() -> dict[str, Any]:
    curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
    return {name: ec.generate_private_key(curve) for name, curve in curves.items()} | {
        name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("rsa", "foreign")
    }


@dataclass(frozen=True)
class Lab:
    """An issuer's keys (``rsa``, ``p256``, ``p384``, ``p521``) and somebody else's (``foreign``)."""

    private: Mapping[str, Any] = field(default_factory=_new_keys)

    def public(self, name: str) -> Any:
        """Return the public key."""
        return self.private[name].public_key()

    def jwk(self, name: str, **members: Any) -> dict[str, Any]:
        """Return the public key as PyJWT writes it, less the `key_ops` that STS does not take."""
        kind = jwt.algorithms.RSAAlgorithm if name in {"rsa", "foreign"} else jwt.algorithms.ECAlgorithm
        written: dict[str, Any] = kind.to_jwk(self.public(name), as_dict=True)
        written.pop("key_ops", None)
        return {**written, "kid": name, "use": "sig", **members}

    def jwks(self, published: Mapping[str, Mapping[str, str]] = PUBLISHED) -> str:
        """Return the key set that the issuer publishes."""
        return json.dumps({"keys": [self.jwk(name, **members) for name, members in published.items()]})

    def keyset(self, published: Mapping[str, Mapping[str, str]] = PUBLISHED) -> Keyset:
        """Return the same, as our side reads it."""
        return parse_jwks(self.jwks(published).encode())

    def secret(self, form: str) -> bytes:
        """Return the public RSA key as bytes that an attacker would use as an HMAC secret."""
        if form == "jwk":
            return json.dumps(self.jwk("rsa")).encode()
        encoding = serialization.Encoding.PEM if form == "pem" else serialization.Encoding.DER
        return self.public("rsa").public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data: bytes, algorithm: str, key: str) -> bytes:
        """Sign with PyJWT's algorithms; ``HS256:pem`` and the like are the confusion attacks."""
        name, _, form = algorithm.partition(":")
        if form:  # PyJWT refuses such secrets, so the attacker does without it
            return hmac.digest(self.secret(form), data, "sha256")
        return jwt.get_algorithm_by_name(name).sign(data, self.private[key])

    def token(self, claims: Mapping[str, Any], *, algorithm: str = "RS256", key: str = "rsa") -> str:
        """Return a token as PyJWT makes it."""
        return jwt.encode(dict(claims), self.private[key], algorithm, headers={"kid": key})

    def build(self, case: Mapping[str, Any]) -> str:
        """Return the token that a file of the corpus describes."""
        if "token" in case:
            return str(case["token"])
        if "repeat" in case:
            return str(case["repeat"][0] * case["repeat"][1])
        header, payload = self._header(case), self._payload(case)
        algorithm, key = case.get("sign_as", json_of(header).get("alg", "RS256")), case.get("key", "rsa")
        signing_input = f"{b64(header)}.{b64(payload)}".encode()
        signature = b"" if case.get("signature") == "empty" else self.sign(signing_input, algorithm, key)
        signature = _bent(signature, case.get("signature", ""))
        if "swap_claims" in case:
            payload = json.dumps(json_of(payload) | case["swap_claims"]).encode()
        parts = {"header": b64(header), "payload": b64(payload), "signature": b64(signature)}
        for part, text in case.get("append", {}).items():
            parts[part] += text
        if "noncanonical" in case:
            parts[case["noncanonical"]] = _respelled(parts[case["noncanonical"]])
        return (case.get("prefix", "") + ".".join(parts.values()))[: case.get("cut")]

    def _header(self, case: Mapping[str, Any]) -> bytes:
        if "header_text" in case:
            return str(case["header_text"]).encode()
        header: dict[str, Any] = {"alg": "RS256", "kid": case.get("key", "rsa"), **case.get("header", {})}
        bait = {
            "$jku": "https://attacker.test/jwks",
            "$x5u": "https://attacker.test/x5u",
            "$jwk": self.jwk("foreign", kid="rsa"),
            "$x5c": [base64.b64encode(self.secret("der")).decode()],
        }
        kept = {name: value for name, value in header.items() if name not in case.get("drop_header", ())}
        return json.dumps({name: bait.get(str(value), value) for name, value in kept.items()}).encode()

    @staticmethod
    def _payload(case: Mapping[str, Any]) -> bytes:
        if "claims_hex" in case:
            return bytes.fromhex(case["claims_hex"])
        if "claims_repeat" in case:
            return str(case["claims_repeat"][0] * case["claims_repeat"][1]).encode()
        if "claims_json" in case or "claims_text" in case:
            return str(case.get("claims_json") or case["claims_text"]).encode()
        claims = claims_for(case["door"]) | case.get("claims", {})
        text = json.dumps({name: value for name, value in claims.items() if name not in case.get("drop", ())})
        more = case.get("claims_json_append")
        return (text if more is None else f"{text[:-1]},{more}}}").encode()


def json_of(data: bytes) -> Any:
    """Return the JSON object, or an empty one where there is none."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _bent(signature: bytes, how: str) -> bytes:
    half = len(signature) // 2
    r, s = signature[:half], signature[half:]
    match how:
        case "der":
            return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        case "short":
            return signature[:-1]
        case "long":
            return r + b"\0" + s  # the same two numbers
        case "zero":
            return bytes(len(signature))
        case "swapped":
            return s + r
        case "leading-zero":
            return b"\0" + signature
        case _:
            return signature


def _respelled(text: str) -> str:
    """Return another spelling of the same bytes: the last character with one unused bit set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = text[:-1] + alphabet[alphabet.index(text[-1]) | 1]
    padding = "=" * (-len(text) % 4)
    assert other != text
    assert base64.urlsafe_b64decode(other + padding) == base64.urlsafe_b64decode(text + padding)
    return other


LAB = Lab()
"""Fresh keys for the whole run."""

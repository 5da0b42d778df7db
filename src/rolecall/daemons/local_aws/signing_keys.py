"""A cluster's own signing key, and the documents by which others verify what it signed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from rolecall.core.tokens.keys import kid_for, to_jwk

_PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class SigningKey:
    """An RSA-2048 key. `kid` is what kube-apiserver names it: base64url SHA-256 of its SubjectPublicKeyInfo."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self.kid = kid_for(key.public_key())

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def from_pem(cls, text: str) -> SigningKey:
        """Return the key that `pem` wrote."""
        key = serialization.load_pem_private_key(text.encode(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return cls(key)

    def pem(self) -> str:
        """Return the private key, for the plane's database only."""
        return self._key.private_bytes(*_PEM).decode()

    def jwks(self) -> bytes:
        """Return the public key as a JSON Web Key Set (RFC 7517)."""
        return msgspec.json.encode({"keys": [to_jwk(self._key.public_key(), kid=self.kid, alg="RS256")]})

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return the claims as a compact JWS, RS256 (RFC 7515)."""
        header = msgspec.json.encode({"alg": "RS256", "kid": self.kid})
        signing_input = f"{_base64url(header)}.{_base64url(msgspec.json.encode(claims))}"
        signature = self._key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{_base64url(signature)}"


def discovery(issuer: str) -> bytes:
    """Return the OIDC discovery document that EKS serves for an issuer (landscape.md §1.1)."""
    return msgspec.json.encode(
        {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/keys",
            "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "claims_supported": ["sub", "iss"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
    )


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

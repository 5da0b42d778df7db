"""A cluster's signing key and its documents, judged by PyJWT and by what OIDC, STS and Kubernetes ask for."""

from __future__ import annotations

import base64
import hashlib
import json

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from rolecall.daemons.local_aws.signing_keys import SigningKey, discovery

ISSUER = "http://127.0.0.1:4500/id/0123456789ABCDEF0123456789ABCDEF"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def test_pyjwt_believes_what_it_signs(key: SigningKey) -> None:
    """A token verifies with the published key, found by its id, and with no other."""
    claims = {"iss": ISSUER, "aud": ["a"], "sub": "käthe", "exp": 4_000_000_000}
    token = key.sign(claims)
    (published,) = jwt.PyJWKSet.from_json(key.jwks().decode()).keys
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": published.key_id}
    assert jwt.decode(token, published.key, algorithms=["RS256"], audience="a", issuer=ISSUER) == claims
    (other,) = jwt.PyJWKSet.from_json(SigningKey.generate().jwks().decode()).keys
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, other.key, algorithms=["RS256"], audience="a")


def test_the_key_id_is_kube_apiservers(key: SigningKey) -> None:
    """base64url without padding of SHA-256 of the DER SubjectPublicKeyInfo (landscape.md §1.2)."""
    public = load_pem_private_key(key.pem().encode(), None).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    expected = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    (published,) = json.loads(key.jwks())["keys"]
    assert key.kid == published["kid"] == expected
    assert (published["kty"], published["use"], published["alg"]) == ("RSA", "sig", "RS256")
    assert "key_ops" not in published  # STS refuses keys that have it
    assert not {"d", "p", "q", "dp", "dq", "qi"} & published.keys()


def test_a_kept_key_is_the_same_key(key: SigningKey) -> None:
    """PEM and back: the same id, and each verifies what the other signed."""
    again = SigningKey.from_pem(key.pem())
    assert again.jwks() == key.jwks()
    assert again.sign({"a": 1}) == key.sign({"a": 1})  # PKCS #1 v1.5 has no randomness


def test_discovery_has_what_sts_needs() -> None:
    """Every mandatory field of landscape.md §1.1, as EKS serves it."""
    assert json.loads(discovery(ISSUER)) == {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/keys",
        "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "claims_supported": ["sub", "iss"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }

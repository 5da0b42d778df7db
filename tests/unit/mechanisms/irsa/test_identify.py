"""Who holds a web identity token. The tokens are signed by PyJWT."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolecall.core.secrets import Secret
from rolecall.core.tokens.keys import Keyset
from rolecall.errors import BadToken
from rolecall.mechanisms.irsa.identify import identify

NOW = 1_700_000_000
ISSUER = "https://oidc.example/id/A"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
KEYS = Keyset({"rsa": KEY.public_key(), "ec": EC_KEY.public_key()})
CLAIMS: dict[str, Any] = {
    "aud": ["sts.amazonaws.com"],
    "exp": NOW + 3600,
    "iat": NOW,
    "iss": ISSUER,
    "sub": "system:serviceaccount:carts:carts",
}


def token(algorithm: str = "RS256", **changes: Any) -> str:
    """Return a token with some claims changed."""
    key, kid = (EC_KEY, "ec") if algorithm == "ES256" else (KEY, "rsa")
    return jwt.encode(CLAIMS | changes, key, algorithm=algorithm, headers={"kid": kid})


def by_public_key() -> str:
    """Return a token whose HMAC key is the public key's PEM: the classic confusion of algorithms."""
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "rsa"}, CLAIMS)
    )
    tag = hmac.new(pem, head + b"." + body, hashlib.sha256).digest()
    return b".".join((head, body, base64.urlsafe_b64encode(tag).rstrip(b"="))).decode()


def identified(text: str) -> str:
    """Return the subject of a token, at the door of a provider with two client ids."""
    clients = ("other", "sts.amazonaws.com")
    return identify(Secret(text), issuer=ISSUER, client_ids=clients, keys=KEYS, now=NOW).claims.subject


GOOD = {
    "RS256": token(),
    "RS512": token("RS512"),
    "ES256": token("ES256"),
    "another client id of the provider": token(aud="other"),
    "expired, within five minutes": token(exp=NOW - 299, iat=NOW - 3600),
    "not yet valid, within five minutes": token(nbf=NOW + 300),
    "with the newline of a file": token() + "\n",
    "no Kubernetes claim: any OIDC issuer will do": token(sub="system:serviceaccount:carts:carts"),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_a_registered_issuers_token_is_believed(text: str) -> None:
    """With STS's algorithms and its five minutes of leeway (landscape.md §1.5)."""
    assert identified(text) == "system:serviceaccount:carts:carts"


BAD = {
    "expired by five minutes": (token(exp=NOW - 300, iat=NOW - 3600), "expired"),
    "not valid for more than five minutes": (token(nbf=NOW + 301), "not-yet-valid"),
    "of another audience": (token(aud="pods.eks.amazonaws.com"), "wrong-audience"),
    "of another issuer": (token(iss="https://oidc.example/id/B"), "wrong-issuer"),
    "PS256": (token("PS256"), "bad-algorithm"),
    "HMAC with the public key": (by_public_key(), "bad-algorithm"),
    "alg none": (jwt.encode(CLAIMS, "", algorithm="none"), "unsigned"),
    "another signature": (token()[:-8] + "AAAAAAAA", "bad-signature"),
}


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD)
def test_any_other_token_is_not_believed(text: str, reason: str) -> None:
    """The step that failed is named, the token is not."""
    with pytest.raises(BadToken) as caught:
        identified(text)
    assert caught.value.reason == reason
    assert text not in caught.value.message

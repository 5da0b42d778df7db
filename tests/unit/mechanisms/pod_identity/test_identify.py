"""Who holds a Pod Identity token. The tokens are signed by PyJWT."""

from __future__ import annotations

import copy
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rolecall.core.names import AccountId, ClusterName, Partition, Region
from rolecall.core.records import ClusterFacts
from rolecall.core.secrets import Secret
from rolecall.core.tokens.keys import Keyset
from rolecall.errors import BadToken
from rolecall.mechanisms.pod_identity.identify import identify

NOW = 1_700_000_000
ISSUER = "https://oidc.example/id/A"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = Keyset({"k1": KEY.public_key()})
CLUSTER = ClusterFacts(
    ClusterName("demo"), Partition("aws"), Region("us-west-2"), AccountId("123456789012"), issuer=ISSUER
)
# What a 1.32 API server writes (landscape.md §1.4).
CLAIMS: dict[str, Any] = {
    "aud": ["pods.eks.amazonaws.com"],
    "exp": NOW + 3600,
    "iat": NOW - 10,
    "iss": ISSUER,
    "jti": "0b1c2d3e-0000-4000-8000-000000000000",
    "kubernetes.io": {
        "namespace": "demo-ns",
        "node": {"name": "n1", "uid": "node-uid"},
        "pod": {"name": "demo-sa-x7k2p", "uid": "pod-uid"},
        "serviceaccount": {"name": "demo-sa", "uid": "sa-uid"},
    },
    "nbf": NOW - 10,
    "sub": "system:serviceaccount:demo-ns:demo-sa",
}


def token(change: dict[str, Any] | None = None, *, unpod: bool = False) -> Secret:
    """Return a token with some claims changed."""
    claims = copy.deepcopy(CLAIMS) | (change or {})
    if unpod:
        del claims["kubernetes.io"]["pod"]
    return Secret(jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "k1"}))


def test_a_pods_token_says_who_holds_it() -> None:
    """Namespace, service account and pod come out of the verified claims."""
    claims = identify(token(), cluster=CLUSTER, keys=KEYS, now=NOW).claims
    assert claims.kubernetes is not None
    assert claims.audience == "pods.eks.amazonaws.com"
    assert (claims.kubernetes.namespace, claims.kubernetes.service_account) == ("demo-ns", "demo-sa")
    assert (claims.kubernetes.pod_name, claims.kubernetes.pod_uid) == ("demo-sa-x7k2p", "pod-uid")


REFUSED = {
    "IRSA's audience": (token({"aud": ["sts.amazonaws.com"]}), "wrong-audience"),
    "the API server's audience": (token({"aud": [ISSUER]}), "wrong-audience"),
    "another cluster's issuer": (token({"iss": ISSUER + "/"}), "wrong-issuer"),
    "expired this second, no leeway": (token({"exp": NOW}), "expired"),
    "valid in a second, no leeway": (token({"nbf": NOW + 1}), "not-yet-valid"),
    "not bound to a pod": (token(unpod=True), "no-pod"),
    "of somebody else's issuer": (token({"kubernetes.io": None}), "not-kubernetes"),
    "two names": (token({"sub": "system:serviceaccount:demo-ns:other"}), "bad-claim"),
}


@pytest.mark.parametrize(("held", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_token_for_anything_else_is_not_believed(held: Secret, reason: str) -> None:
    """Strict audience, issuer and time, and bound to a pod."""
    with pytest.raises(BadToken) as caught:
        identify(held, cluster=CLUSTER, keys=KEYS, now=NOW)
    assert caught.value.reason == reason
    assert held.reveal() not in caught.value.message

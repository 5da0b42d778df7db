"""Service-account tokens in kube-apiserver's place. PyJWT reads them; the claims are those of Kubernetes 1.32."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from plane_in_process import Plane
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop, fault

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
POD_IDENTITY = "pods.eks.amazonaws.com"


@pytest.fixture
def laptop(plane: Plane) -> Laptop:
    """A cluster."""
    return Laptop(plane)


def asked(**changes: Any) -> dict[str, Any]:
    """Return a request for a token."""
    return {"namespace": "demo-ns", "serviceAccount": "demo-sa", "audience": POD_IDENTITY} | changes


def claims(token: str) -> dict[str, Any]:
    """Return a token's claims, unverified."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def test_a_pods_token_has_the_claims_of_an_api_server(laptop: Laptop) -> None:
    """All claims, no others: bound pod, node and service account, and a list of one audience."""
    pod = laptop.pod()
    got = laptop.told("POST", f"/clusters/{CLUSTER}/tokens", asked(podUid=pod["uid"], expirationSeconds=7200))
    now = int(laptop.plane.clock.now())
    account = laptop.told("GET", f"/clusters/{CLUSTER}/serviceaccounts/demo-ns/demo-sa")
    found = claims(got["token"])
    assert UUID.fullmatch(found.pop("jti"))
    node = found["kubernetes.io"].pop("node")
    assert node["name"] == pod["node"] == "rolecall-dev"
    assert UUID.fullmatch(node["uid"])
    assert UUID.fullmatch(account["uid"])
    assert found == {
        "aud": [POD_IDENTITY],
        "exp": now + 7200,
        "iat": now,
        "iss": laptop.eks.describe_cluster(name=CLUSTER)["cluster"]["identity"]["oidc"]["issuer"],
        "kubernetes.io": {
            "namespace": "demo-ns",
            "pod": {"name": pod["name"], "uid": pod["uid"]},
            "serviceaccount": {"name": "demo-sa", "uid": account["uid"]},
        },
        "nbf": now,
        "sub": "system:serviceaccount:demo-ns:demo-sa",
    }
    assert (got["issuedAt"], got["expiresAt"]) == (now, now + 7200)


def test_a_token_without_a_pod_names_neither_pod_nor_node(laptop: Laptop) -> None:
    """As kubectl create token makes it."""
    assert set(claims(laptop.token())["kubernetes.io"]) == {"namespace", "serviceaccount"}


def test_the_key_id_is_kubernetes_own(laptop: Laptop) -> None:
    """base64url SHA-256 of the SubjectPublicKeyInfo (landscape.md §1.2), and PyJWT verifies with the published key."""
    token = laptop.token()
    issuer = laptop.plane.issuers.of_cluster(CLUSTER)
    assert issuer is not None
    (jwk,) = json.loads(issuer.key.jwks())["keys"]
    public = jwt.PyJWK(jwk).key
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": kid}
    assert jwt.decode(token, public, algorithms=["RS256"], audience=POD_IDENTITY)["iss"] == issuer.url


def test_tokens_differ_and_accounts_keep_their_uid(laptop: Laptop) -> None:
    """Each token has a jti of its own; the account's UID is one for its life."""
    first, second = claims(laptop.token()), claims(laptop.token())
    assert first["jti"] != second["jti"]
    assert first["kubernetes.io"]["serviceaccount"] == second["kubernetes.io"]["serviceaccount"]


def test_any_audience_but_the_empty_one(laptop: Laptop) -> None:
    """An empty audience would be the API server's own."""
    assert claims(laptop.token(audience="https://anything/ at all"))["aud"] == ["https://anything/ at all"]
    for empty in ("", "  "):
        reply = laptop.ask("POST", f"/clusters/{CLUSTER}/tokens", asked(audience=empty))
        assert fault(reply) == (400, "InvalidParameterException")
        assert b"audience is empty" in reply.body


@pytest.mark.parametrize(
    ("seconds", "good"), [(599, False), (600, True), (2**32, True), (2**32 + 1, False), (-1, False)]
)
def test_a_lifetime_is_bounded(laptop: Laptop, seconds: int, good: bool) -> None:
    """600 s to 2^32 s, as the TokenRequest API has it: refused, not raised."""
    reply = laptop.ask("POST", f"/clusters/{CLUSTER}/tokens", asked(expirationSeconds=seconds))
    if good:
        found = claims(json.loads(reply.body)["token"])
        assert found["exp"] - found["iat"] == seconds
    else:
        assert fault(reply) == (400, "InvalidParameterException")


def test_a_plane_may_cap_lifetimes(tmp_path: Path) -> None:
    """--max-token-seconds shows a rotation within seconds; what was asked for is checked all the same."""
    with Plane.open(tmp_path, max_token_seconds=20) as plane:
        laptop = Laptop(plane)
        found = claims(laptop.token(seconds=3600))
        assert found["exp"] - found["iat"] == 20
        short = laptop.ask("POST", f"/clusters/{CLUSTER}/tokens", asked(expirationSeconds=20))
        assert fault(short) == (400, "InvalidParameterException")


def test_a_token_is_bound_to_a_running_pod_of_its_account_only(laptop: Laptop) -> None:
    """Not to a stranger's pod, not to an ended one, not to none, not to another cluster's."""
    laptop.cluster("second")
    others, elsewhere, over = laptop.pod("other"), laptop.pod(cluster="second"), laptop.pod()
    laptop.told("DELETE", f"/clusters/{CLUSTER}/pods/{over['uid']}")
    for uid, wanted in (
        (others["uid"], (400, "InvalidParameterException")),
        (over["uid"], (400, "InvalidParameterException")),
        (elsewhere["uid"], (404, "ResourceNotFoundException")),
        ("no-such-uid", (404, "ResourceNotFoundException")),
    ):
        assert fault(laptop.ask("POST", f"/clusters/{CLUSTER}/tokens", asked(podUid=uid))) == wanted


BAD = {
    "no body": (b"", "InvalidRequestException"),
    "not JSON": (b"{", "InvalidRequestException"),
    "a list": (b"[]", "InvalidParameterException"),
    "an unknown field": (json.dumps(asked(expiry=1)).encode(), "InvalidParameterException"),
    "no audience": (b'{"namespace": "a", "serviceAccount": "b"}', "InvalidParameterException"),
    "two audiences": (json.dumps(asked(audience=["a", "b"])).encode(), "InvalidParameterException"),
    "illegal namespace": (json.dumps(asked(namespace="A")).encode(), "InvalidParameterException"),
    "illegal account": (json.dumps(asked(serviceAccount="a:b")).encode(), "InvalidParameterException"),
    "life in words": (json.dumps(asked(expirationSeconds="1h")).encode(), "InvalidParameterException"),
}


@pytest.mark.parametrize(("body", "code"), BAD.values(), ids=BAD)
def test_unreadable_requests_write_nothing(refusing: Laptop, body: bytes, code: str) -> None:
    """400, and no service account appears."""
    before = refusing.plane.tables()
    assert fault(refusing.ask("POST", f"/clusters/{CLUSTER}/tokens", raw=body)) == (400, code)
    assert refusing.plane.tables() == before


def test_an_unknown_cluster_has_no_tokens(refusing: Laptop) -> None:
    """404."""
    assert fault(refusing.ask("POST", "/clusters/nowhere/tokens", asked())) == (404, "ResourceNotFoundException")

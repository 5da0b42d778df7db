"""AssumeRoleWithWebIdentity: real tokens, a real trust policy, unmodified botocore without credentials.

Codes, statuses and sentences: landscape.md §1.8. Tokens are made by PyJWT with keys of this test; the keys of
"the issuer" are handed to the plane as a fetch would bring them.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from plane_in_process import ACCOUNT, Keys, Plane
from rolecall.core.tokens.keys import Keyset, parse_jwks
from rolecall.daemons.local_aws import sts
from rolecall.daemons.local_aws.faces import QueryFace
from rolecall.daemons.local_aws.front import Front
from rolecall.daemons.local_aws.guard import Guard
from rolecall.daemons.local_aws.sts.web_identity import WebIdentity
from rolecall.errors import Upstream

ISSUER = "https://oidc.example.test:8443/id/ABC"
HOST = ISSUER.removeprefix("https://")
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{HOST}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/carts"
SUBJECT = "system:serviceaccount:carts:carts"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())

LEEWAY = 300
NOT_A_JWT = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
NO_KEY = (
    "Couldn't retrieve verification key from your identity provider,  please reference "
    "AssumeRoleWithWebIdentity documentation for requirements"
)


def trust(condition: dict[str, Any] | None = None, **changes: Any) -> str:
    usual = {"StringEquals": {f"{HOST}:sub": SUBJECT, f"{HOST}:aud": "sts.amazonaws.com"}}
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition or usual,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | changes]})


def published() -> Keyset:
    """Return the issuer's keys as its JWKS document has them, written by PyJWT."""
    rsa_jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key())) | {"kid": "one", "use": "sig"}
    rsa_jwk.pop("key_ops", None)
    ec_jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key())) | {"kid": "two", "use": "sig"}
    ec_jwk.pop("key_ops", None)
    return parse_jwks(json.dumps({"keys": [rsa_jwk, ec_jwk]}).encode())


class Issuer:
    """The issuer as the plane reaches it: it may be down, or publish rubbish."""

    def __init__(self) -> None:
        self.failure: Upstream | None = None
        self.asked: list[str] = []

    async def keys(self, issuer: str, kid: str | None) -> Keyset:
        self.asked.append(issuer)
        if self.failure is not None:
            raise self.failure
        return published()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def plane(tmp_path: Path, issuer: Issuer) -> Iterator[Plane]:
    """A plane with a registered provider and one role, whose keys come from `issuer`."""
    with Plane.open(tmp_path) as started:
        iam = started.client("iam")
        iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["sts.amazonaws.com", "other-client"])
        iam.create_role(RoleName="carts", AssumeRolePolicyDocument=trust())
        real = started.front
        face = QueryFace("sts", sts.operations(WebIdentity(started.database, issuer.keys)))
        started.front = Front(
            guard=Guard(()),
            faces={**real._faces, "sts": face},
            open_pages=started.issuers.page,
            database=started.database,
            clock=started.clock,
            world=started.world,
        )
        yield started


def claims(plane: Plane, **changes: Any) -> dict[str, Any]:
    now = int(plane.clock.now())
    usual = {"iss": ISSUER, "sub": SUBJECT, "aud": ["sts.amazonaws.com"], "iat": now, "nbf": now, "exp": now + 3600}
    return {name: value for name, value in (usual | changes).items() if value is not ...}


def token(
    plane: Plane, *, key: Any = RSA_KEY, alg: str = "RS256", headers: dict[str, Any] | None = None, **changes: Any
) -> str:
    """Return a token; a claim given as ``...`` is left out."""
    return jwt.encode(claims(plane, **changes), key, alg, {"kid": "one"} | (headers or {}))


def ask(plane: Plane, text: str, **more: Any) -> dict[str, Any]:
    wanted = {"RoleArn": ROLE, "RoleSessionName": "tester", "WebIdentityToken": text} | more
    answer: dict[str, Any] = plane.unsigned_client("sts").assume_role_with_web_identity(**wanted)
    return answer


def refusal(plane: Plane, text: str, **more: Any) -> tuple[str, int, str]:
    before = plane.tables()
    with pytest.raises(ClientError) as caught:
        ask(plane, text, **more)
    assert plane.tables() == before, "a refusal writes nothing"
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]


def test_a_pod_gets_its_role(plane: Plane) -> None:
    """The answer has all that STS's has, and its keys are the role's."""
    answer = ask(plane, token(plane), DurationSeconds=900)
    assert answer["Audience"] == "sts.amazonaws.com"
    assert answer["Provider"] == PROVIDER
    assert answer["SubjectFromWebIdentityToken"] == SUBJECT
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/carts/tester"
    assert answer["Credentials"]["Expiration"].timestamp() == int(plane.clock.now()) + 900
    identity = plane.client("sts", Keys.of(answer["Credentials"])).get_caller_identity()
    assert identity["Arn"] == answer["AssumedRoleUser"]["Arn"]


ACCEPTED: dict[str, dict[str, Any]] = {
    "an elliptic key": {"key": EC_KEY, "alg": "ES256", "headers": {"kid": "two"}},
    "RS512": {"alg": "RS512"},
    "one audience as text": {"aud": "sts.amazonaws.com"},
    "several audiences with azp": {"aud": ["a", "b"], "azp": "sts.amazonaws.com"},
    "headers that name other keys": {"headers": {"jku": "http://127.0.0.1:9/", "jwk": {"kty": "oct"}}},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_other_tokens_that_sts_takes(plane: Plane, case: str) -> None:
    """What STS accepts (landscape.md §1.2, §1.5) is accepted."""
    assert ask(plane, token(plane, **ACCEPTED[case]))["Audience"] == "sts.amazonaws.com"


def test_the_clock_may_differ_by_five_minutes(plane: Plane) -> None:
    """STS tolerates 300 s on exp and iat, and not one more."""
    now = int(plane.clock.now())
    assert ask(plane, token(plane, exp=now - 298))
    assert ask(plane, token(plane, iat=now + 299, nbf=now + 299))
    assert refusal(plane, token(plane, exp=now - 302))[0] == "ExpiredTokenException"
    assert refusal(plane, token(plane, nbf=now + 302))[0] == "InvalidIdentityToken"


def test_an_expired_token_is_told_when(plane: Plane) -> None:
    """ExpiredTokenException 400, with both times in AWS's sentence."""
    now = int(plane.clock.now())
    code, status, message = refusal(plane, token(plane, exp=now - 3600))
    assert (code, status) == ("ExpiredTokenException", 400)
    told = re.fullmatch(
        r"Token expired: current date/time (\d+) must be before the expiration date/time (\d+)", message
    )
    assert told is not None
    assert now - LEEWAY <= int(told[1]) <= now
    assert int(told[2]) == now - 3600


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no provider": (
        {"iss": "https://oidc.example.test/id/ABC"},
        "No OpenIDConnect provider found in your account for https://oidc.example.test/id/ABC",
    ),
    "a slash more": ({"iss": ISSUER + "/"}, f"No OpenIDConnect provider found in your account for {ISSUER}/"),
    "audience": ({"aud": ["pods.eks.amazonaws.com"]}, "Incorrect token audience"),
    "azp": ({"aud": ["sts.amazonaws.com"], "azp": "somebody"}, "Incorrect token audience"),
    "several audiences": (
        {"aud": ["sts.amazonaws.com", "other-client"]},
        "Token audience contains more than one audience while authorized party is not present",
    ),
    "unknown key": ({"headers": {"kid": "three"}}, NO_KEY),
    "no sub": ({"sub": ...}, "Missing a required claim: sub"),
    "no aud": ({"aud": ...}, "Missing a required claim: aud"),
    "no exp": ({"exp": ...}, "Missing a required claim: exp"),
    "no iat": ({"iat": ...}, "Missing a required claim: iat"),
    "no iss": ({"iss": ...}, "Missing a required claim: iss"),
    "HMAC": ({"key": "x" * 64, "alg": "HS256"}, NOT_A_JWT),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_identity_tokens(plane: Plane, case: str) -> None:
    """InvalidIdentityToken 400, in AWS's own sentences."""
    changes, message = INVALID[case]
    assert refusal(plane, token(plane, **changes)) == ("InvalidIdentityToken", 400, message)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(plane: Plane, how: str) -> str:
    good = token(plane)
    header, payload, signature = good.split(".")
    if how == "unsigned":
        return f"{part({'alg': 'none', 'kid': 'one'})}.{payload}."
    if how == "HMAC with the public key":
        key = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = part({"alg": "HS256", "kid": "one", "typ": "JWT"})
        mac = hmac.new(key, f"{head}.{payload}".encode(), hashlib.sha256).digest()
        return f"{head}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    if how == "signed by another key":
        return token(plane, key=OTHER_KEY)
    if how == "another subject under the same signature":
        return f"{header}.{part(claims(plane, sub='system:serviceaccount:carts:admin'))}.{signature}"
    return how


@pytest.mark.parametrize(
    "how",
    [
        "unsigned",
        "HMAC with the public key",
        "signed by another key",
        "another subject under the same signature",
        "garbage",
        "a.b.c",
        "....",
        "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
    ],
)
def test_forged_tokens(plane: Plane, how: str) -> None:
    """Whatever is not signed by the issuer is InvalidIdentityToken 400, and does not come back in the answer."""
    text = forged(plane, how)
    code, status, message = refusal(plane, text)
    assert (code, status) == ("InvalidIdentityToken", 400)
    assert text not in message


def test_an_issuer_that_is_not_registered_is_never_asked(plane: Plane, issuer: Issuer) -> None:
    """A token cannot make the plane fetch from an address of its choice."""
    refusal(plane, token(plane, iss="https://169.254.169.254/latest"))
    refusal(plane, token(plane, iss="file:///etc/passwd"))
    refusal(plane, token(plane, iss=HOST))
    assert issuer.asked == []


@pytest.mark.parametrize(("retryable", "code"), [(True, "IDPCommunicationError"), (False, "InvalidIdentityToken")])
def test_keys_that_cannot_be_had(plane: Plane, issuer: Issuer, retryable: bool, code: str) -> None:
    """400: an issuer that cannot be reached is worth asking again, one that publishes rubbish is not."""
    issuer.failure = Upstream("the issuer did not answer")
    issuer.failure.retryable = retryable
    assert refusal(plane, token(plane)) == (code, 400, NO_KEY)


DENIED = ("AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
TRUSTS: dict[str, str] = {
    "sub differs by one letter": trust({"StringEquals": {f"{HOST}:sub": SUBJECT[:-1]}}),
    "a wildcard under StringEquals": trust({"StringEquals": {f"{HOST}:sub": "system:serviceaccount:carts:*"}}),
    "aud": trust({"StringEquals": {f"{HOST}:aud": "other-client"}}),
    "key of another issuer": trust({"StringEquals": {f"oidc.example.test/id/ABC:sub": SUBJECT}}),  # noqa: F541
    "another provider": trust(Principal={"Federated": PROVIDER + "D"}),
    "anybody of AWS": trust(Principal={"AWS": "*"}),
    "another action": trust(Action="sts:AssumeRole"),
    "explicit deny": json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                *json.loads(trust())["Statement"],
                {"Effect": "Deny", "Principal": {"Federated": PROVIDER}, "Action": "sts:*"},
            ],
        }
    ),
}


@pytest.mark.parametrize("case", TRUSTS)
def test_a_trust_policy_that_does_not_match(plane: Plane, case: str) -> None:
    """AccessDenied 403, in one sentence for all causes: STS does not say which."""
    plane.client("iam").update_assume_role_policy(RoleName="carts", PolicyDocument=TRUSTS[case])
    assert refusal(plane, token(plane)) == DENIED


def test_an_absent_role_looks_the_same(plane: Plane) -> None:
    """A stranger does not learn which roles exist."""
    assert refusal(plane, token(plane), RoleArn=ROLE + "x") == DENIED
    assert refusal(plane, token(plane), RoleArn=ROLE.replace(ACCOUNT, "210987654321")) == DENIED


def test_a_wildcard_matches_under_string_like(plane: Plane) -> None:
    """StringLike is what a wildcard needs."""
    policy = trust({"StringLike": {f"{HOST}:sub": "system:serviceaccount:carts:*"}})
    plane.client("iam").update_assume_role_policy(RoleName="carts", PolicyDocument=policy)
    assert ask(plane, token(plane))["Provider"] == PROVIDER


BAD_NAME = (
    "1 validation error detected: Value 'a/b' at 'roleSessionName' failed to satisfy constraint: Member must "
    r"satisfy regular expression pattern: [\w+=,.@-]*"
)
REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "no ARN": ({"RoleArn": "x" * 20}, "Request ARN is invalid"),
    "an ARN of another thing": ({"RoleArn": PROVIDER}, "Request ARN is invalid"),
    "session name": (
        {"RoleSessionName": "a/b"},
        BAD_NAME,
    ),
    "too long": (
        {"DurationSeconds": 3601},
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    ),
    "session policy": (
        {"Policy": "{}"},
        "rolecall dev does not enforce Policy yet, so it refuses a session that would ignore it",
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_impossible_requests(plane: Plane, case: str) -> None:
    """ValidationError 400 with AWS's sentence."""
    request, message = REQUESTS[case]
    assert refusal(plane, token(plane), **request) == ("ValidationError", 400, message)


def test_tags_in_the_token(plane: Plane) -> None:
    """Tags that the issuer signed need sts:TagSession; with it the session carries them, transitive ones marked."""
    tags = {"https://aws.amazon.com/tags": {"principal_tags": {"Team": ["x"]}, "transitive_tag_keys": ["Team"]}}
    code, status, message = refusal(plane, token(plane, **tags))
    assert (code, status, message) == ("AccessDenied", 403, "Not authorized to perform sts:TagSession")
    both = trust(Action=["sts:AssumeRoleWithWebIdentity", "sts:TagSession"])
    plane.client("iam").update_assume_role_policy(RoleName="carts", PolicyDocument=both)
    ask(plane, token(plane, **tags))
    (row,) = plane.run(plane.database.run(lambda tx: tx.execute("SELECT * FROM sessions").fetchall()))
    assert (json.loads(row["tags"]), json.loads(row["transitive_keys"])) == ({"Team": "x"}, ["Team"])


def test_a_signature_on_the_call_changes_nothing(plane: Plane) -> None:
    """The token is the proof: admin's signature does not get an admin's session, nor does a wrong one hurt."""
    body = "&".join(
        (
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=tester",
            f"RoleArn={ROLE}&WebIdentityToken={token(plane, sub='system:serviceaccount:carts:other')}",
        )
    ).encode()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    request = plane.signed("POST", "/", body, service="sts", headers=kind)
    assert plane.call(request).status == 403
    wrong = dataclasses.replace(request, body=body.replace(b"carts", b"carts"))
    assert b"<Code>AccessDenied</Code>" in plane.call(wrong).body


def test_a_role_session_of_a_pod_is_no_admin(plane: Plane) -> None:
    """What a pod gets may only do what the role's policies allow: nothing, here, in AWS's sentence."""
    keys = Keys.of(ask(plane, token(plane))["Credentials"])
    with pytest.raises(ClientError) as caught:
        plane.client("iam", keys).create_access_key(UserName="admin")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert caught.value.response["Error"]["Message"] == (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/carts/tester is not authorized to perform: iam:CreateAccessKey "
        "on resource: user admin because no identity-based policy allows the iam:CreateAccessKey action"
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        plane.client("iam", keys).create_access_key()

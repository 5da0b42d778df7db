"""STS and IRSA: who is let in, and AWS's own code for each who is not."""

from __future__ import annotations

import base64
import json

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from integration.dev_plane import CARTS_ROLE, DevPlane, role_arn


def token(plane: DevPlane, account: str = "carts", audience: str = "sts.amazonaws.com") -> str:
    """Return a good token of carts/ACCOUNT."""
    done = plane.shell("rolecall", "token", "create", "-n", "carts", "-s", account, "--audience", audience)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def assume(plane: DevPlane, web_identity_token: str, role: str = CARTS_ROLE) -> str:
    """Return "ok", or the code of STS's refusal, as boto3 sees it."""
    sts = plane.client(
        "sts", aws_access_key_id="", config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    )
    try:
        sts.assume_role_with_web_identity(
            RoleArn=role_arn(role), RoleSessionName="test", WebIdentityToken=web_identity_token
        )
    except ClientError as fault:
        return fault.response["Error"]["Code"]
    return "ok"


def test_the_right_token_is_let_in(stage: DevPlane) -> None:
    """Without this, the refusals below would prove nothing."""
    assert assume(stage, token(stage)) == "ok"


def test_a_subject_that_differs_by_one_letter_is_denied(stage: DevPlane) -> None:
    """The trust policy's sub decides; that the role exists is not told."""
    assert assume(stage, token(stage, "cart")) == "AccessDenied"
    assert assume(stage, token(stage, "cartz")) == "AccessDenied"
    assert assume(stage, token(stage), "no-such-role") == "AccessDenied"


def test_a_foreign_audience_is_no_identity(stage: DevPlane) -> None:
    """The provider's client ids decide."""
    assert assume(stage, token(stage, audience="pods.eks.amazonaws.com")) == "InvalidIdentityToken"


@pytest.mark.parametrize("change", ["signature", "issuer", "subject"])
def test_a_changed_token_is_no_identity(stage: DevPlane, change: str) -> None:
    """One letter of the signature, another issuer, another subject under the old signature."""
    header, payload, signature = token(stage, "cart").split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if change == "signature":
        signature = ("B" if signature[0] != "B" else "C") + signature[1:]
    elif change == "issuer":
        claims["iss"] += "0"
    else:
        claims["sub"] += "s"
        claims["kubernetes.io"]["serviceaccount"]["name"] += "s"
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert assume(stage, f"{header}.{payload}.{signature}") == "InvalidIdentityToken"

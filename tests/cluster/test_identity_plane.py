"""A real cluster's tokens at `rolecall dev`: its issuer as an OIDC provider, as on AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from cluster.control_plane import ControlPlane
from integration.dev_plane import ACCOUNT, DevPlane, role_arn

AUDIENCE = "sts.amazonaws.com"


@pytest.fixture
def plane(control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevPlane]:
    """An identity plane that believes the API server's certificate, as it would an issuer's on the internet."""
    monkeypatch.setenv("SSL_CERT_FILE", str(control_plane.ca_file))
    plane = DevPlane(tmp_path / "state", tmp_path).start()
    yield plane
    plane.stop()


@pytest.fixture
def role(control_plane: ControlPlane, plane: DevPlane, namespace: str) -> str:
    """A role that trusts one service account of the cluster, by its issuer."""
    host = control_plane.issuer.removeprefix("https://")
    iam = plane.client("iam")
    iam.create_open_id_connect_provider(Url=control_plane.issuer, ClientIDList=[AUDIENCE])
    subject = f"system:serviceaccount:{namespace}:carts"
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{host}:sub": subject, f"{host}:aud": AUDIENCE}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName="carts", AssumeRolePolicyDocument=document)
    return role_arn("carts")


def test_a_real_token_becomes_credentials(
    control_plane: ControlPlane, plane: DevPlane, role: str, namespace: str
) -> None:
    """AssumeRoleWithWebIdentity believes a token that kube-apiserver signed, and only of the trusted account."""
    for name in ("carts", "other"):
        control_plane.service_account(namespace, name)
    pod = control_plane.pod(namespace, "carts-0", "carts")
    options = {"endpoint_url": plane.url, "region_name": "us-west-2", "config": Config(signature_version=UNSIGNED)}
    sts = boto3.session.Session().client("sts", **options)

    def assumed(token: str) -> dict[str, object]:
        return sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="carts-0", WebIdentityToken=token)

    answer = assumed(control_plane.token(namespace, "carts", AUDIENCE, pod=pod))
    assert answer["SubjectFromWebIdentityToken"] == f"system:serviceaccount:{namespace}:carts"
    assert answer["Audience"] == AUDIENCE
    keys = answer["Credentials"]
    who = plane.client(
        "sts",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    ).get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/carts/carts-0"

    for token, code in (
        (control_plane.token(namespace, "other", AUDIENCE), "AccessDenied"),
        (control_plane.token(namespace, "carts", "pods.eks.amazonaws.com", pod=pod), "InvalidIdentityToken"),
    ):
        with pytest.raises(ClientError) as refused:
            assumed(token)
        assert refused.value.response["Error"]["Code"] == code

"""OIDC providers in IAM, asked by unmodified botocore (IAM API Reference; landscape.md §1.1)."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Plane

URL = "https://oidc.eks.us-west-2.amazonaws.com/id/ABC"
ARN = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/ABC"


def refusal(plane: Plane, operation: str, **params: Any) -> tuple[str, int]:
    before = plane.tables()
    with pytest.raises(ClientError) as caught:
        getattr(plane.client("iam", validate=False), operation)(**params)
    assert plane.tables() == before
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def test_the_life_of_a_provider(plane: Plane) -> None:
    """Made, seen without its scheme, changed, listed, deleted, gone."""
    iam = plane.client("iam")
    made = iam.create_open_id_connect_provider(
        Url=URL, ClientIDList=["sts.amazonaws.com"], ThumbprintList=["a" * 40], Tags=[{"Key": "k", "Value": "v"}]
    )
    assert made["OpenIDConnectProviderArn"] == ARN
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID="other")
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID="other")
    plane.restart()
    found = plane.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=ARN)
    assert found["Url"] == "oidc.eks.us-west-2.amazonaws.com/id/ABC"
    assert found["ClientIDList"] == ["sts.amazonaws.com", "other"]
    assert found["ThumbprintList"] == ["a" * 40]
    assert found["Tags"] == [{"Key": "k", "Value": "v"}]
    iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID="other")
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=ARN)["ClientIDList"] == ["sts.amazonaws.com"]
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == [{"Arn": ARN}]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=ARN)
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert refusal(plane, "get_open_id_connect_provider", OpenIDConnectProviderArn=ARN) == ("NoSuchEntity", 404)
    assert refusal(plane, "delete_open_id_connect_provider", OpenIDConnectProviderArn=ARN) == ("NoSuchEntity", 404)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4500/id/ABC", "http://localhost:4500/id/ABC", "https://example.com/", "https://a.b:8443"]
)
def test_urls_that_are_taken(plane: Plane, url: str) -> None:
    """https anywhere, http on this machine; whatever follows the scheme is kept byte for byte."""
    iam = plane.client("iam")
    arn = iam.create_open_id_connect_provider(Url=url)["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:oidc-provider/{url.partition('://')[2]}"
    assert refusal(plane, "create_open_id_connect_provider", Url=url) == ("EntityAlreadyExists", 409)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/id",
        "http://127.0.0.1.example.com",
        "ftp://example.com",
        "example.com",
        "https://",
        "https://example.com/?a=b",
        "https://example.com/?",
        "https://example.com/#a",
        "https://user@example.com/",
        "https://[::1",
        "https://example.com:port",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://exämple.com/",
        "https://example.com/" + "x" * 236,
    ],
)
def test_urls_that_are_refused(plane: Plane, url: str) -> None:
    """InvalidInput or ValidationError 400, never a failure of ours."""
    code, status = refusal(plane, "create_open_id_connect_provider", Url=url)
    assert status == 400
    assert code in {"InvalidInput", "ValidationError"}


def test_limits(plane: Plane) -> None:
    """A hundred providers an account, a hundred client ids a provider."""
    iam = plane.client("iam")
    iam.create_open_id_connect_provider(Url=URL, ClientIDList=[f"c{number}" for number in range(100)])
    wanted = {"OpenIDConnectProviderArn": ARN, "ClientID": "more"}
    assert refusal(plane, "add_client_id_to_open_id_connect_provider", **wanted) == ("LimitExceeded", 409)
    for number in range(99):
        iam.create_open_id_connect_provider(Url=f"{URL}{number}")
    assert refusal(plane, "create_open_id_connect_provider", Url=URL + "x") == ("LimitExceeded", 409)

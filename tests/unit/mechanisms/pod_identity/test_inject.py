"""What a pod with an association is given: names, values and order are AWS's webhook's (aws-pod-identity.md §2)."""

from __future__ import annotations

import pytest

from rolecall.core.injection import Place
from rolecall.core.names import Region
from rolecall.mechanisms.pod_identity.inject import inject

TOKEN = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"


def test_the_webhooks_variables_in_its_order() -> None:
    """STS endpoints, both regions, then the pair."""
    got = inject("a-1", Place(Region("us-west-2"), sts_regional=True))
    assert got.env == (
        ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
        ("AWS_DEFAULT_REGION", "us-west-2"),
        ("AWS_REGION", "us-west-2"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", TOKEN),
    )
    assert (got.generation, got.because) == ("pod-identity", "association a-1")


def test_nothing_that_nobody_asked_for() -> None:
    """Without a region and without regional STS only the pair is left."""
    got = inject("a-1", Place(None, sts_regional=False))
    assert [name for name, _ in got.env] == [
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ]


def test_the_token_is_projected_as_aws_does() -> None:
    """Volume, path, audience and a day's life."""
    token = inject("a-1", Place()).token
    assert (token.volume, token.path) == ("eks-pod-identity-token", TOKEN)
    assert (token.audience, token.expiration) == ("pods.eks.amazonaws.com", 86_400)


@pytest.mark.parametrize(("asked", "got"), [(1, 600), (600, 600), (86_400, 86_400), (100_000, 86_400)])
def test_a_tokens_life_is_bounded(asked: int, got: int) -> None:
    """600 s is Kubernetes' least; EKS gives at most a day."""
    assert inject("a-1", Place(), expiration=asked).token.expiration == got


def test_another_door_and_another_mount() -> None:
    """On a laptop the door and the files are elsewhere; both variables follow."""
    got = inject("a-1", Place(), full_uri="http://127.0.0.1:4501/v1/credentials", mount_path="/run/x")
    assert dict(got.env)["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://127.0.0.1:4501/v1/credentials"
    assert dict(got.env)["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == "/run/x/eks-pod-identity-token" == got.token.path

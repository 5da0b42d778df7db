"""What both generations get at admission: aws-pod-identity.md §2.3 (order, names) and §2.1 (lifetimes)."""

from __future__ import annotations

import pytest

from rolecall.core.injection import Place, TokenMount, check_audience, place_env, token_lifetime
from rolecall.core.names import Region
from rolecall.errors import BadName

WEST = Region.parse("us-west-2")
REGIONAL = ("AWS_STS_REGIONAL_ENDPOINTS", "regional")
BOTH = (("AWS_DEFAULT_REGION", "us-west-2"), ("AWS_REGION", "us-west-2"))


@pytest.mark.parametrize(
    ("place", "env"),
    [
        pytest.param(Place(), (REGIONAL,), id="default"),
        pytest.param(Place(WEST), (REGIONAL, *BOTH), id="region"),
        pytest.param(Place(WEST, sts_regional=False), BOTH, id="region-global-sts"),
        pytest.param(Place(sts_regional=False), (), id="nothing"),
    ],
)
def test_environment(place: Place, env: tuple[tuple[str, str], ...]) -> None:
    """The variables in the order in which AWS's webhook appends them."""
    assert place_env(place) == env


@pytest.mark.parametrize(
    ("asked", "lifetime"), [(-1, 600), (0, 600), (599, 600), (600, 600), (86_400, 86_400), (86_401, 86_400)]
)
def test_lifetime(asked: int, lifetime: int) -> None:
    """Raised to 600 s, the least that Kubernetes gives; lowered to a day, the most that EKS gives."""
    assert token_lifetime(asked) == lifetime


@pytest.mark.parametrize("audience", ["sts.amazonaws.com", "pods.eks.amazonaws.com", "x"])
def test_an_audience_is_kept(audience: str) -> None:
    """Any audience but the empty one."""
    assert check_audience(audience) == audience


@pytest.mark.parametrize("audience", ["", " ", "\n\t"])
def test_an_empty_audience_is_refused(audience: str) -> None:
    """Such a token would be one for the Kubernetes API, readable by every container (aws-pod-identity.md §5)."""
    with pytest.raises(BadName, match="Kubernetes API"):
        check_audience(audience)


def test_where_the_token_is() -> None:
    """The path that the program is told is the file in the mount."""
    base = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    mount = TokenMount("eks-pod-identity-token", base, "eks-pod-identity-token", "pods.eks.amazonaws.com", 86_400)
    assert mount.path == f"{base}/eks-pod-identity-token"

"""What a pod of an annotated service account is given (aws-pod-identity.md §2.1-2.3)."""

from __future__ import annotations

import pytest

from rolecall.core.injection import Injection, Place
from rolecall.core.names import ClusterName, Namespace, Region, ServiceAccountName
from rolecall.core.records import ServiceAccountFacts
from rolecall.errors import BadName
from rolecall.mechanisms.irsa.inject import inject, role_annotation

ROLE = "arn:aws:iam::123456789012:role/carts"
TOKEN = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
WEST = Place(Region("us-west-2"), sts_regional=True)


def account(prefix: str = "eks.amazonaws.com", **annotations: str) -> ServiceAccountFacts:
    """Return carts/carts with annotations of the webhook's domain (``_`` stands for ``-``)."""
    named = {f"{prefix}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return ServiceAccountFacts(ClusterName("demo"), Namespace("carts"), ServiceAccountName("carts"), "uid", named)


def injected(place: Place = WEST, **annotations: str) -> Injection:
    """Return what carts/carts is given."""
    return inject(account(**({"role_arn": ROLE} | annotations)), place)


def test_the_webhooks_variables_in_its_order() -> None:
    """STS endpoints, both regions, then the pair."""
    got = injected()
    assert got.env == (
        ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
        ("AWS_DEFAULT_REGION", "us-west-2"),
        ("AWS_REGION", "us-west-2"),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN),
    )
    assert (got.generation, got.because) == ("irsa", "annotation eks.amazonaws.com/role-arn")


def test_the_token_is_projected_as_aws_does() -> None:
    """Volume, path, audience and a day's life."""
    token = injected().token
    assert (token.volume, token.path, token.audience, token.expiration) == (
        "aws-iam-token",
        TOKEN,
        "sts.amazonaws.com",
        86_400,
    )


def test_the_audience_annotation_wins() -> None:
    """aud is what the service account asks for."""
    assert injected(audience="sts.amazonaws.com.cn").token.audience == "sts.amazonaws.com.cn"


@pytest.mark.parametrize(("text", "seconds"), [("1", 600), ("0600", 600), ("43200", 43_200), ("999999999", 86_400)])
def test_the_expiration_annotation_is_bounded(text: str, seconds: int) -> None:
    """Raised to 600 s as AWS does, cut to a day as EKS does."""
    assert injected(token_expiration=text).token.expiration == seconds


# Go's strconv.ParseBool; what it cannot read the webhook passes over.
REGIONAL = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), (True, True)),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), (False, False)),
    **dict.fromkeys(("", "yes", "tRUE", " true", "2"), (True, False)),
}


@pytest.mark.parametrize(("text", "by_flag"), REGIONAL.items(), ids=[repr(text) for text in REGIONAL])
def test_the_regional_annotation_wins_both_ways(text: str, by_flag: tuple[bool, bool]) -> None:
    """With the flag on and with the flag off; the region stays."""
    for flag, wanted in zip((True, False), by_flag, strict=True):
        env = dict(injected(Place(Region("us-west-2"), sts_regional=flag), sts_regional_endpoints=text).env)
        assert (env.get("AWS_STS_REGIONAL_ENDPOINTS") == "regional") is wanted
        assert env["AWS_REGION"] == "us-west-2"


BROKEN = {
    "a role's bare name": ("role_arn", "carts"),
    "a user": ("role_arn", "arn:aws:iam::123456789012:user/carts"),
    "an empty audience": ("audience", ""),
    "a blank audience": ("audience", "  "),
    "a life in words": ("token_expiration", "1h"),
    "a negative life": ("token_expiration", "-600"),
    "a life of thousands of digits": ("token_expiration", "9" * 5000),
    "digits of another script": ("token_expiration", "٦٠٠"),
}


@pytest.mark.parametrize(("key", "text"), BROKEN.values(), ids=BROKEN)
def test_an_annotation_that_cannot_work_is_named(key: str, text: str) -> None:
    """The error names the annotation, and is short."""
    with pytest.raises(BadName) as caught:
        injected(**{key: text})
    assert f"eks.amazonaws.com/{key.replace('_', '-')}" in caught.value.message
    assert len(caught.value.message) < 300


def test_a_role_is_needed() -> None:
    """No annotation, or an empty one, as the webhook has it."""
    for facts in (account(), account(role_arn="")):
        assert role_annotation(facts) is None
        with pytest.raises(BadName, match=r"carts/carts has no eks\.amazonaws\.com/role-arn"):
            inject(facts, WEST)


def test_another_annotation_domain_and_another_mount() -> None:
    """--annotation-prefix renames all of them: those of AWS's domain do not count then."""
    facts = account(prefix="iam.example", role_arn=ROLE, audience="a")
    got = inject(facts, WEST, prefix="iam.example", mount_path="/run/x")
    assert (got.token.audience, got.token.path) == ("a", "/run/x/token")
    assert role_annotation(facts) is None

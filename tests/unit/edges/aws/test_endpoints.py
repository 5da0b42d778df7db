"""Where AWS's services are: botocore's own endpoint rules say it, region by region."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import Loader

from rolecall.edges.aws.endpoints import configured_endpoint, eks_auth_endpoint, partition_of, sts_endpoint, switch
from rolecall.errors import Misconfigured

LOADER = Loader()
PARTITIONS = LOADER.load_data("partitions")
REGIONS = [
    region for partition in PARTITIONS["partitions"] for region in partition["regions"] if not region.endswith("global")
]


@cache
def rules(service: str) -> EndpointProvider:
    """Return botocore's rules for a service."""
    return EndpointProvider(LOADER.load_service_model(service, "endpoint-rule-set-1"), PARTITIONS)


def of_botocore(service: str, **params: Any) -> str:
    """Return the URL that botocore calls."""
    return str(rules(service).resolve_endpoint(**params).url)


def environment(*, fips: bool, dual_stack: bool) -> Mapping[str, str]:
    """Return the variables that ask for it."""
    return {"AWS_USE_FIPS_ENDPOINT": json.dumps(fips), "AWS_USE_DUALSTACK_ENDPOINT": json.dumps(dual_stack)}


@pytest.mark.parametrize("dual_stack", [False, True], ids=["", "dual"])
@pytest.mark.parametrize("fips", [False, True], ids=["", "fips"])
def test_the_endpoints_of_every_region(*, fips: bool, dual_stack: bool) -> None:
    """All partitions, China's and the isolated ones among them."""
    env = environment(fips=fips, dual_stack=dual_stack)
    assert len(REGIONS) > 40
    for region in REGIONS:
        assert eks_auth_endpoint(region, env) == of_botocore("eks-auth", Region=region, UseFIPS=fips)
        expected = of_botocore("sts", Region=region, UseFIPS=fips, UseDualStack=dual_stack, UseGlobalEndpoint=False)
        assert sts_endpoint(region, env) == expected


def test_the_partition_of_every_region() -> None:
    """As AWS's table has it, which botocore brings."""
    for partition in PARTITIONS["partitions"]:
        found = {partition_of(region) for region in partition["regions"] if region in REGIONS}
        assert found <= {partition["id"]}


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": "http://a"}, "http://a"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_STS": "http://b"}, "http://b"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_EKS_AUTH": "http://b"}, "http://a"),
        ({"AWS_ENDPOINT_URL_STS": "http://b", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"}, None),
    ],
)
def test_an_endpoint_of_ones_own(env: Mapping[str, str], url: str | None) -> None:
    """The service's variable before the general one, and a switch that turns off both (SDKs and Tools guide)."""
    assert configured_endpoint(env, "STS") == url
    assert sts_endpoint("us-west-2", env) == (url or "https://sts.us-west-2.amazonaws.com")


def test_fips_and_an_endpoint_of_ones_own() -> None:
    """AWS's rules refuse the two together; so do we, at the start."""
    with pytest.raises(EndpointProviderError):
        of_botocore("eks-auth", Region="us-west-2", UseFIPS=True, Endpoint="http://a")
    with pytest.raises(Misconfigured, match="AWS_USE_FIPS_ENDPOINT"):
        configured_endpoint({"AWS_ENDPOINT_URL": "http://a", "AWS_USE_FIPS_ENDPOINT": "true"}, "STS")


def test_a_switch_is_true_or_false() -> None:
    """Whoever writes ``yes`` is told that it is not read, rather than that FIPS is off."""
    assert [switch({"X": value}, "X") for value in ("true", "True", " TRUE ", "false", "", "FALSE")] == [
        True, True, True, False, False, False
    ]  # fmt: skip
    for value in ("1", "yes", "on", "tru"):
        with pytest.raises(Misconfigured, match="neither true nor false"):
            switch({"X": value}, "X")

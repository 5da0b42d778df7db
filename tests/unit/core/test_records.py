"""The facts, where they say something that was not put into them."""

from __future__ import annotations

import pytest

from rolecall.core.names import AccountId, ClusterName, Partition, Region
from rolecall.core.records import ClusterFacts


@pytest.mark.parametrize(("partition", "region"), [("aws", "us-west-2"), ("aws-cn", "cn-north-1")])
def test_the_arn_of_a_cluster(partition: str, region: str) -> None:
    """As EKS writes it (Service Authorization Reference, EKS: cluster), in any partition."""
    account = AccountId("123456789012")
    facts = ClusterFacts(ClusterName("demo"), Partition(partition), Region(region), account, "https://issuer.test")
    assert facts.arn == f"arn:{partition}:eks:{region}:123456789012:cluster/demo"

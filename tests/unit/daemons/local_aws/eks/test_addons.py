"""EKS add-ons, by unmodified botocore."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Plane
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop

AGENT = {"clusterName": CLUSTER, "addonName": "eks-pod-identity-agent"}


@pytest.fixture
def laptop(plane: Plane) -> Laptop:
    """A cluster without add-ons."""
    return Laptop(plane)


def test_the_agent_is_active_at_once(laptop: Laptop) -> None:
    """Created, described, and the waiter's first look is its last."""
    made = laptop.eks.create_addon(**AGENT, tags={"team": "x"})["addon"]
    assert (made["addonName"], made["clusterName"], made["status"]) == (*reversed(AGENT.values()), "CREATING")
    assert made["addonVersion"].startswith("v1.")
    laptop.eks.get_waiter("addon_active").wait(**AGENT)
    addon = laptop.eks.describe_addon(**AGENT)["addon"]
    assert (addon["status"], addon["health"], addon["tags"]) == ("ACTIVE", {"issues": []}, {"team": "x"})
    assert addon["addonArn"].startswith(f"arn:aws:eks:us-west-2:{ACCOUNT}:addon/demo/eks-pod-identity-agent/")


def test_a_version_is_kept(laptop: Laptop) -> None:
    """What was asked for is what is described."""
    laptop.eks.create_addon(**AGENT, addonVersion="v1.2.0-eksbuild.1", configurationValues="{}")
    addon = laptop.eks.describe_addon(**AGENT)["addon"]
    assert (addon["addonVersion"], addon["configurationValues"]) == ("v1.2.0-eksbuild.1", "{}")


def test_add_ons_are_listed_in_pages(laptop: Laptop) -> None:
    """By name, through botocore's paginator."""
    for name in ("vpc-cni", "eks-pod-identity-agent", "coredns"):
        laptop.eks.create_addon(clusterName=CLUSTER, addonName=name)
    pages = laptop.eks.get_paginator("list_addons").paginate(clusterName=CLUSTER, PaginationConfig={"PageSize": 2})
    assert [page["addons"] for page in pages] == [["coredns", "eks-pod-identity-agent"], ["vpc-cni"]]


def test_a_deleted_add_on_is_gone(laptop: Laptop) -> None:
    """The waiter sees it at once, and it can be made again."""
    laptop.eks.create_addon(**AGENT)
    assert laptop.eks.delete_addon(**AGENT, preserve=True)["addon"]["status"] == "DELETING"
    laptop.eks.get_waiter("addon_deleted").wait(**AGENT)
    assert laptop.eks.create_addon(**AGENT)["addon"]["status"] == "CREATING"


def test_an_add_on_is_made_once(laptop: Laptop) -> None:
    """409."""
    laptop.eks.create_addon(**AGENT)
    with pytest.raises(ClientError) as caught:
        laptop.eks.create_addon(**AGENT)
    assert caught.value.response["Error"] == {"Code": "ResourceInUseException", "Message": "Addon already exists."}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


REFUSED = {
    "no cluster, create": ("create_addon", AGENT | {"clusterName": "nowhere"}, 404, "ResourceNotFoundException"),
    "no cluster, list": ("list_addons", {"clusterName": "nowhere"}, 404, "ResourceNotFoundException"),
    "no add-on, describe": ("describe_addon", AGENT, 404, "ResourceNotFoundException"),
    "no add-on, delete": ("delete_addon", AGENT, 404, "ResourceNotFoundException"),
    "unknown name": ("create_addon", AGENT | {"addonName": "nothing"}, 400, "InvalidParameterException"),
    "associations of its own": (
        "create_addon",
        AGENT | {"podIdentityAssociations": [{"serviceAccount": "a", "roleArn": "b"}]},
        400,
        "InvalidParameterException",
    ),
}


@pytest.mark.parametrize(("operation", "params", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_refusals(refusing: Laptop, operation: str, params: dict[str, object], status: int, code: str) -> None:
    """AWS's codes, and nothing is written."""
    with pytest.raises(ClientError) as caught:
        getattr(refusing.eks, operation)(**params)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code
    assert refusing.plane.tables()["addons"] == []

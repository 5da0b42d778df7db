"""What the metadata service says of its instance: documents by their names (EC2 User Guide; legacy-proxies.md §2.2)."""

from __future__ import annotations

from collections.abc import Mapping

from rolecall.core.exchange import Reply
from rolecall.daemons.local_aws.imds.instance import Instance
from rolecall.daemons.local_aws.operations import World
from rolecall.mechanisms.imds import wire as imds

_DOMAINS = {"aws-cn": "amazonaws.com.cn", "aws-iso": "c2s.ic.gov", "aws-iso-b": "sc2s.sgov.gov"}
_IMAGE, _TYPE, _ADDRESS = "ami-0123456789abcdef0", "m7g.large", "10.0.0.10"
_HELP = "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html"


def documents(instance: Instance, world: World) -> Mapping[str, str]:
    """Return the texts of the documents, by their names in the allow-list of `mechanisms.imds.documents`."""
    host = f"ip-{_ADDRESS.replace('.', '-')}"
    name = f"{host}.ec2.internal" if world.region == "us-east-1" else f"{host}.{world.region}.compute.internal"
    return {
        "meta-data/ami-id": _IMAGE,
        "meta-data/hostname": name,
        "meta-data/instance-id": instance.id,
        "meta-data/instance-life-cycle": "on-demand",
        "meta-data/instance-type": _TYPE,
        "meta-data/local-hostname": name,
        "meta-data/local-ipv4": _ADDRESS,
        "meta-data/placement/availability-zone": f"{world.region}a",
        "meta-data/placement/region": str(world.region),
        "meta-data/services/domain": _DOMAINS.get(world.partition, "amazonaws.com"),
        "meta-data/services/partition": str(world.partition),
        "dynamic/instance-identity/document": _identity(instance, world),
    }


def _identity(instance: Instance, world: World) -> str:
    """Return the identity document. It is not signed here: nobody outside could tell who signed it."""
    members = {
        "accountId": str(world.account),
        "architecture": "arm64",
        "availabilityZone": f"{world.region}a",
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": _IMAGE,
        "instanceId": instance.id,
        "instanceType": _TYPE,
        "kernelId": None,
        "pendingTime": imds.moment(instance.launched_at),
        "privateIp": _ADDRESS,
        "ramdiskId": None,
        "region": str(world.region),
        "version": "2017-09-30",
    }
    return imds.document(members).body.decode()


def not_assumable(role: str, now: float) -> Reply:
    """Return what stands in the place of credentials where the role's trust policy does not admit EC2."""
    message = f"EC2 cannot assume the role {role}.  Please see documentation at {_HELP}."
    members = {"Code": "AssumeRoleUnauthorizedAccess", "Message": message, "LastUpdated": imds.moment(now)}
    return imds.document(members)

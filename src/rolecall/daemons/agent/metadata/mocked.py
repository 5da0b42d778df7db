"""The instance that metadataproxy makes up with MOCK_API, where there is none (legacy-proxies.md §3.6).

With it programs of a laptop's containers find a region and an instance beside their role. Only documents of the
allow-list are made up; the ones that prove something to others (signatures) are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping


def mocked_documents(instance: str, region: str) -> Mapping[str, bytes]:
    """Return the documents by their names of `rolecall.mechanisms.imds.documents`; `region` may be empty.

    `instance` is what MOCKED_INSTANCE_ID says, without the ``i-``.
    """
    region = region or "us-east-1"
    number, zone, kind, image = f"i-{instance}", f"{region}a", "t2.medium", "ami-mockedami"
    host, address = "mocked", "127.0.0.1"
    identity = {
        "accountId": "1234",
        "architecture": "x86_64",
        "availabilityZone": zone,
        "imageId": image,
        "instanceId": number,
        "instanceType": kind,
        "privateIp": address,
        "region": region,
        "version": "2010-08-31",
    }
    texts = {
        "meta-data/ami-id": image,
        "meta-data/hostname": host,
        "meta-data/instance-id": number,
        "meta-data/instance-type": kind,
        "meta-data/local-hostname": host,
        "meta-data/local-ipv4": address,
        "meta-data/mac": "02:00:00:00:00:00",
        "meta-data/placement/availability-zone": zone,
        "meta-data/placement/region": region,
        "meta-data/services/domain": "amazonaws.com",
        "meta-data/services/partition": "aws",
        "dynamic/instance-identity/document": json.dumps(identity, indent=2),
    }
    return {name: text.encode() for name, text in texts.items()}

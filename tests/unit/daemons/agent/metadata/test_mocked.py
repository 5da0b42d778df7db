"""The made-up instance says what metadataproxy's says, and only documents that a real one has (§3.6)."""

from __future__ import annotations

import json

from rolecall.daemons.agent.metadata.mocked import mocked_documents
from rolecall.mechanisms.imds.documents import PRESETS


def test_it_is_metadataproxys() -> None:
    """Its image, type, zone, account, and the instance that was named."""
    found = mocked_documents("mockedid", "")
    assert found.keys() <= PRESETS["legacy-read"]
    said = {
        "meta-data/ami-id": b"ami-mockedami",
        "meta-data/instance-id": b"i-mockedid",
        "meta-data/instance-type": b"t2.medium",
        "meta-data/placement/availability-zone": b"us-east-1a",
        "meta-data/services/domain": b"amazonaws.com",
    }
    assert said.items() <= found.items()
    document = json.loads(found["dynamic/instance-identity/document"])
    assert (document["accountId"], document["version"], document["instanceId"]) == ("1234", "2010-08-31", "i-mockedid")


def test_it_is_in_the_region_that_was_said() -> None:
    """SDKs find it by either document."""
    found = mocked_documents("x", "eu-west-1")
    assert found["meta-data/placement/region"] == b"eu-west-1"
    assert found["meta-data/placement/availability-zone"] == b"eu-west-1a"

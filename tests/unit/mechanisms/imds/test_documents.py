"""The allow-list as directories."""

from __future__ import annotations

from rolecall.mechanisms.imds import documents


def test_directories_hold_what_is_allowed() -> None:
    """Files as they are, directories with a slash; what is not allowed is not there."""
    allowed = {"meta-data/placement/region", "meta-data/instance-id", "dynamic/instance-identity/document"}
    assert documents.entries("", allowed) == ["dynamic/", "meta-data/"]
    assert documents.entries("meta-data", allowed) == ["instance-id", "placement/"]
    assert documents.entries("meta-data/placement", allowed) == ["region"]
    assert documents.entries("meta-data/place", allowed) == []
    assert documents.entries("meta-data/instance-id", allowed) == []
    assert documents.entries("", ()) == []

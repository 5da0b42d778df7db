"""Tags of IAM's own things: lists of Key and Value on the wire, a mapping in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rolecall.errors import ServiceError

MOST_TAGS = 50


def read_tags(members: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return tags by key; raises `ServiceError` for one given twice, a reserved one, or too many."""
    tags = {member["Key"]: member["Value"] for member in members}
    if len({key.lower() for key in tags}) != len(members):
        raise ServiceError("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    return limited(tags)


def limited(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags, or raise `ServiceError` where IAM would keep none of them."""
    for key in tags:
        if key.lower().startswith("aws:"):
            raise ServiceError("InvalidInput", f"System tags cannot be added/updated by requester: {key[:128]}")
    if len(tags) > MOST_TAGS:
        raise ServiceError(
            "LimitExceeded", f"The number of tags has reached the maximum limit: {MOST_TAGS}", status=409
        )
    return tags


def show_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as IAM lists them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]

"""What a program is given to find the metadata service: nothing, where it stands at its own address."""

from __future__ import annotations

from rolecall.core.injection import Place, place_env


def environment(place: Place, *, endpoint: str | None) -> tuple[tuple[str, str], ...]:
    """Return the variables; `endpoint` is the door's URL where 169.254.169.254 does not lead to it."""
    found = () if endpoint is None else (("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint),)
    return (*place_env(place), *found)

"""IAM's pagination: ``MaxItems`` and ``Marker`` in, ``IsTruncated`` and ``Marker`` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rolecall.daemons.local_aws.operations import Params
from rolecall.errors import ServiceError

Item = TypeVar("Item")
_DEFAULT = 100


def page(name: str, items: Sequence[Item], params: Params, show: Callable[[Item], Any]) -> dict[str, Any]:
    """Return one page of `items`, rendered by `show`, under the member `name`."""
    marker: str = params.get("Marker") or "0"
    if not marker.isascii() or not marker.isdigit():
        raise ServiceError("ValidationError", "Invalid Marker.")
    start, most = int(marker), params.get("MaxItems") or _DEFAULT
    answer: dict[str, Any] = {
        name: [show(item) for item in items[start : start + most]],
        "IsTruncated": start + most < len(items),
    }
    if answer["IsTruncated"]:
        answer["Marker"] = str(start + most)
    return answer

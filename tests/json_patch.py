"""JSON Patch (RFC 6902) as far as tests need it: independent of what makes the patches."""

from __future__ import annotations

import copy
from typing import Any


def applied(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Return the document after ``add`` and ``replace`` (RFC 6902); anything else, and a missing place, is an error."""
    document = copy.deepcopy(document)
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = document
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        value = copy.deepcopy(operation["value"])
        if isinstance(place, list):
            if operation["op"] == "add":
                index = len(place) if last == "-" else int(last)
                assert index <= len(place)
                place.insert(index, value)
                continue
            last = int(last)
            assert last < len(place)
        assert isinstance(place, list | dict)
        assert operation["op"] == "add" or (operation["op"] == "replace" and (isinstance(place, list) or last in place))
        place[last] = value
    return document

"""Annotations of the laptop world's objects: changed key by key, kept to what Kubernetes takes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rolecall.errors import ServiceError

# Kubernetes, ValidateAnnotations: a qualified name, case aside; a DNS subdomain of at most 253 before the slash.
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KEY = re.compile(rf"((?=[^/]{{1,253}}/){_LABEL}(\.{_LABEL})*/)?[a-z0-9]([a-z0-9_.-]{{0,61}}[a-z0-9])?")
LONGEST = 256 * 1024


def changed(kept: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """Return annotations with a change, in which None removes one.

    Raises `ServiceError` where one of them is illegal, or all of them are too long.
    """
    found = dict(kept)
    for key, value in change.items():
        if not _KEY.fullmatch(key.lower()):
            raise ServiceError("InvalidParameterException", f"{key[:80]!r} is not an annotation key: use domain/name")
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > LONGEST:
        raise ServiceError("InvalidParameterException", "annotations of one object are at most 256 KiB")
    return found

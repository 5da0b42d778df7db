"""Service accounts by namespace and name, where either may be a pattern with ``*``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value")
Key = tuple[str, str]


class Table(Generic[Value]):
    """Finds the value of a service account: its own, else that of ``*/name``, else of the first pattern that fits.

    The first two are what AWS's webhook does; its README promises the third.
    """

    __slots__ = ("_exact", "_patterns")

    def __init__(self, entries: Iterable[tuple[Key, Value]] = ()) -> None:
        found: Mapping[Key, Value] = dict(entries)
        self._exact = {key: value for key, value in found.items() if not _is_pattern(key)}
        self._patterns = [
            (re.compile(_pattern("/".join(key))), value) for key, value in found.items() if key not in self._exact
        ]

    def __len__(self) -> int:
        return len(self._exact) + len(self._patterns)

    def find(self, namespace: str, name: str) -> Value | None:
        """Return the value, or None."""
        exact = self._exact
        found = exact.get((namespace, name))
        if found is None:
            found = exact.get(("*", name))
        if found is None and self._patterns:
            text = f"{namespace}/{name}"
            found = next((value for pattern, value in self._patterns if pattern.fullmatch(text)), None)
        return found


def _is_pattern(key: Key) -> bool:
    return "*" in key[1] or ("*" in key[0] and key[0] != "*")


def _pattern(text: str) -> str:
    return "[^/]*".join(map(re.escape, re.split(r"\*+", text)))

"""The request context: the condition keys of one request, each with one value or with several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

Value = str | tuple[str, ...]
"""A `str` is a single-valued key; a tuple is a multi-valued one, even with one element or none."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NOTHING_MANY: Mapping[str, Sequence[str]] = MappingProxyType({})


class RequestContext(Mapping[str, Value]):
    """An immutable mapping of condition keys to values.

    Names are case-insensitive and kept in lower case (IAM User Guide, Condition: key names are not
    case-sensitive). A missing key, an empty string and an empty tuple are three different things.
    Where two names differ only by case the later one wins; AWS defines no winner either.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        self._values: dict[str, Value] = {name.lower(): value for name, value in (values or {}).items()}

    @classmethod
    def of(
        cls, single: Mapping[str, str] = _NOTHING, many: Mapping[str, Sequence[str]] = _NOTHING_MANY
    ) -> RequestContext:
        """Return a context of `single`-valued keys and of multi-valued keys (``aws:TagKeys``)."""
        return cls({**single, **{name: tuple(values) for name, values in many.items()}})

    def with_(
        self, single: Mapping[str, str] = _NOTHING, many: Mapping[str, Sequence[str]] = _NOTHING_MANY
    ) -> RequestContext:
        """Return a context with these keys added or replaced."""
        return self | RequestContext.of(single, many)

    def lookup(self, folded_name: str) -> Value | None:
        """Return the value of a key whose name is already in lower case, or None."""
        return self._values.get(folded_name)

    def __or__(self, other: RequestContext) -> RequestContext:
        """Return both together; where both have a key, the right one's value counts."""
        merged = RequestContext()
        merged._values.update(self._values)
        merged._values.update(other._values)
        return merged

    def __getitem__(self, name: str) -> Value:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"RequestContext({self._values!r})"

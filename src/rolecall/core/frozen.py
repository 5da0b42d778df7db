"""Frozen dataclasses that cost nothing to make, for values of which each request makes a dozen.

``dataclass(frozen=True)`` sets every field through ``object.__setattr__``, at 0.1 µs a field: a tenth of a review.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Make a dataclass with slots, compared and hashed by its fields. That none is set later, the type checker sees."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

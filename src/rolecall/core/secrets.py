"""A secret that cannot be printed by accident."""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn


class Secret:
    """Holds a secret string; `reveal` is the only way to read it.

    `str`, `repr`, formatting and pickling never show the content; JSON encoders do not know the type.
    Where `reveal` may be called is an allow-list in ``tests/house``.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self.__value

    def digest(self) -> bytes:
        """Return SHA-256 of the secret: a cache key that gives nothing away."""
        return hashlib.sha256(self.__value.encode("utf-8", "surrogatepass")).digest()

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.digest(), other.digest())

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "Secret(…)"

    def __format__(self, spec: str) -> str:
        return format("Secret(…)", spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret has no state to show")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

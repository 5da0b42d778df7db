"""A secret that cannot be printed by accident."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import NoReturn


@lru_cache(1024)
def _same(number: int) -> int:
    """Return one object for equal numbers: secrets of a kind stand at the same places of what they are parts of."""
    return number


class Secret:
    """Holds a secret string; `reveal` and `reveal_bytes` are the only ways to read it.

    `str`, `repr`, formatting and pickling never show the content; JSON encoders do not know the type.
    Where they may be called is an allow-list in ``tests/house``.
    """

    __slots__ = ("__end", "__start", "__value")

    def __init__(self, value: str) -> None:
        self.__value = value.encode("utf-8", "surrogatepass")
        self.__start: int = 0
        self.__end: int | None = None  # of the whole: a number would take memory for each secret

    @classmethod
    def within(cls, held: bytes, start: int, end: int) -> Secret:
        """Return the secret that is a part, in UTF-8, of bytes that are held anyway: it is not held twice."""
        found = cls("")
        found.__value, found.__start, found.__end = held, _same(start), _same(end)
        return found

    def reveal(self) -> str:
        """Return the secret itself."""
        return self.reveal_bytes().decode("utf-8", "surrogatepass")

    def reveal_bytes(self) -> bytes:
        """Return the secret in UTF-8: what it holds, and no copy, but for a part of something."""
        return self.__value[self.__start : self.__end]

    def digest(self) -> bytes:
        """Return SHA-256 of the secret: a cache key that gives nothing away."""
        return hashlib.sha256(self.reveal_bytes()).digest()

    def __bool__(self) -> bool:
        return self.__start < (len(self.__value) if self.__end is None else self.__end)

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

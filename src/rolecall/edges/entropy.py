"""The one reader of chance. All of it comes from the operating system's generator."""

from __future__ import annotations

import secrets
import uuid

_DICE = secrets.SystemRandom()


def token_bytes(count: int) -> bytes:
    """Return `count` random bytes."""
    return secrets.token_bytes(count)


def token_hex(count: int) -> str:
    """Return `count` random bytes as `2 * count` lower-case hexadecimal digits."""
    return secrets.token_hex(count)


def choice_text(alphabet: str, count: int) -> str:
    """Return `count` characters, each drawn evenly from `alphabet`."""
    return "".join(secrets.choice(alphabet) for _ in range(count))


def number(least: int, most: int) -> int:
    """Return a whole number, drawn evenly, from `least` to `most`."""
    return _DICE.randint(least, most)


def uuid4() -> str:
    """Return a random UUID (RFC 9562, version 4) in its lower-case text form."""
    return str(uuid.uuid4())


def uniform(low: float, high: float) -> float:
    """Return a number between `low` and `high`: the dice that jitter is thrown with."""
    return _DICE.uniform(low, high)


def dice() -> float:
    """Return a number between 0 and 1."""
    return uniform(0.0, 1.0)

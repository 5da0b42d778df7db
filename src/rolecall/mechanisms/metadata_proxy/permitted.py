"""What a namespace permits: kube2iam's list of patterns, kiam's expression. What cannot be read permits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from rolecall.mechanisms.metadata_proxy.regexp import compiled, escape
from rolecall.mechanisms.metadata_proxy.roles import kube2iam_arn

Format = Literal["glob", "regexp"]
KiamRule = Literal["strict", "loose"]


def glob(pattern: str, text: str) -> bool:
    """Whether a pattern matches the whole text; ``*`` is any run of characters, slashes too (ryanuber/go-glob)."""
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    *middle, last = others
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


@lru_cache(maxsize=1024)
def kube2iam_permits(patterns: Sequence[str], arn: str, *, base: str, written: Format) -> bool:
    """Whether one of a namespace's patterns admits the role. A pattern that is no ARN is below the base.

    Expressions match whole ARNs and the base is text: kube2iam's ``explicit-role`` also admitted
    ``explicit-role-admin``. Raises `BadInput` for an expression that cannot be read.
    """
    if written == "glob":
        return any(glob(kube2iam_arn(base, pattern), arn) for pattern in patterns)
    for pattern in patterns:
        below = "" if kube2iam_arn(base, pattern) == pattern else escape(base)
        compiled(pattern)  # alone: it must not end a group that it has not begun
        if compiled(f"{below}(?:{pattern})").fullmatch(arn):
            return True
    return False


@lru_cache(maxsize=1024)
def kiam_permits(expression: str, arn: str, rule: KiamRule = "strict") -> bool:
    """Whether a namespace's expression admits the role: strictly the whole ARN, loosely any part of it.

    None and an empty one admit nothing. kiam wrote ``^a|b$`` for ``a|b``, and so admitted whatever begins with ``a``
    or ends with ``b``. Raises `BadInput` for an expression that cannot be read.
    """
    if not expression:
        return False
    found = compiled(expression)
    return found.fullmatch(arn) if rule == "strict" else found.search(arn)

"""Policy variables: ``${aws:PrincipalTag/team}``, ``${key, 'default'}``, ``${*}`` ``${?}`` ``${$}``.

Source: IAM User Guide, "IAM policy elements: Variables and tags". What a variable stands for is
always literal text: a ``*`` that comes out of a tag value is a star, not a wildcard.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from rolecall.core.policy.context import RequestContext


class Wild(Enum):
    """A wildcard in a pattern."""

    MANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """A reference to a condition key; `name` is in lower case."""

    name: str
    default: str | None = None

    def resolve(self, context: RequestContext) -> str | None:
        """Return the text that the variable stands for, or None where it stands for nothing.

        A multi-valued key has no single text, so it never resolves, not even to the default.
        """
        value = context.lookup(self.name)
        if isinstance(value, tuple):
            return None
        return self.default if value is None else value


Atom = str | Wild
Piece = str | Wild | Variable

_REFERENCE = re.compile(r"\$\{(?:([*?$])|([^{}',]+)(?:, *'([^']*)')?)\}")
_WILDS = re.compile(r"([*?])")


@dataclass(frozen=True, slots=True)
class Template:
    """A pattern as written: literal text, wildcards and variables, in order."""

    pieces: tuple[Piece, ...]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables in it, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Variable))

    def expand(self, context: RequestContext) -> tuple[Atom, ...] | None:
        """Return the pieces with every variable replaced, or None where one does not resolve."""
        atoms: list[Atom] = []
        for piece in self.pieces:
            if isinstance(piece, Variable):
                text = piece.resolve(context)
                if text is None:
                    return None
                atoms.append(text)
            else:
                atoms.append(piece)
        return tuple(atoms)

    def split(self, separator: str, times: int) -> list[Template]:
        """Split like `str.split` at separators that are written out in the template itself."""
        parts: list[list[Piece]] = [[]]
        for piece in self.pieces:
            if not isinstance(piece, str):
                parts[-1].append(piece)
                continue
            first, *rest = piece.split(separator, times - len(parts) + 1)
            if first:
                parts[-1].append(first)
            parts.extend([text] if text else [] for text in rest)
        return [Template(tuple(part)) for part in parts]


def parse_template(text: str, *, variables: bool, wildcards: bool) -> Template:
    """Read a pattern.

    `variables` is False for policies of version 2008-10-17, where ``${`` is ordinary text; `wildcards`
    is False where ``*`` and ``?`` are ordinary text. Raises `ValueError` with a sentence about a
    variable that cannot be read.
    """
    pieces: list[Piece] = []
    start = 0
    while variables and (at := text.find("${", start)) >= 0:
        _add_plain(pieces, text[start:at], wildcards)
        found = _REFERENCE.match(text, at)
        if found is None:
            raise ValueError("a policy variable looks like ${aws:username}, ${key, 'default'}, ${*}, ${?} or ${$}")
        pieces.append(found[1] or _variable(found[2], found[3]))
        start = found.end()
    _add_plain(pieces, text[start:], wildcards)
    return Template(tuple(pieces))


def _add_plain(pieces: list[Piece], text: str, wildcards: bool) -> None:
    if not wildcards:
        if text:
            pieces.append(text)
        return
    for part in _WILDS.split(text):
        if part in {"*", "?"}:
            pieces.append(Wild(part))
        elif part:
            pieces.append(part)


def _variable(key: str, default: str | None) -> Variable:
    if key != key.strip() or ":" not in key:
        raise ValueError(f"policy variable ${{{key[:64]}}} does not name a condition key such as aws:username")
    return Variable(key.lower(), default)

"""Regular expressions of namespaces, in time that grows with pattern and text, never faster.

Whoever may annotate a namespace writes them, in Go's syntax (RE2), and the agent of every node runs them: one that
takes exponential time would take the node's credentials away. So they are compiled here to a small automaton, whose
states are walked all at once. What RE2 has and this has not (flags, ``\\b``, named character classes) is refused, not
guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rolecall.errors import BadInput

LONGEST = 1024
_MOST_STATES = 400
_MOST_PARTS = 2000  # also of parts that match nothing: ``((){1000}){1000}``
_MOST_REPEATS = 1000  # as in RE2

Ranges = tuple[tuple[str, str], ...]
_DIGIT: Ranges = (("0", "9"),)
_WORD: Ranges = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACE: Ranges = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_SPECIAL = "\\.+*?()|[]{}^$"


@dataclass(frozen=True, slots=True)
class _Letter:
    """One character out of these ranges, or out of none of them."""

    ranges: Ranges
    negated: bool = False

    def takes(self, letter: str) -> bool:
        return any(low <= letter <= high for low, high in self.ranges) is not self.negated


@dataclass(frozen=True, slots=True)
class _Edge:
    """Nothing, at the beginning or at the end of the text."""

    at: Literal["begin", "end"]


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    branches: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """`part`, at least `least` times; at most `most` times, or without end."""

    part: _Node
    least: int
    most: int | None


_Node = _Letter | _Edge | _Sequence | _Choice | _Repeat


@dataclass(slots=True)
class _State:
    """On `letter` to `after[0]`; without one at once to all of `after`, at an `edge` only there."""

    after: tuple[int, ...]
    letter: _Letter | None = None
    edge: Literal["begin", "end"] | None = None


class Regexp:
    """A compiled expression; raises `BadInput` for one that cannot be read."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST:
            raise BadInput(f"the expression is longer than {LONGEST} characters")
        self._states: list[_State] = [_State(())]  # the first is the end of the match
        self._parts = 0
        self._start = self._compile(_Reader(pattern).read(), 0)

    def search(self, text: str) -> bool:
        """Whether it matches somewhere, as Go's MatchString says."""
        return self._run(text, anywhere=True)

    def fullmatch(self, text: str) -> bool:
        """Whether it matches the whole text: anchored, and with all of its alternatives."""
        return self._run(text, anywhere=False)

    def _run(self, text: str, *, anywhere: bool) -> bool:
        now: set[int] = set()
        for at in range(len(text) + 1):
            begin, end = at == 0, at == len(text)
            if anywhere or begin:
                now.add(self._start)
            now = self._closure(now, begin=begin, end=end)
            if 0 in now and (anywhere or end):
                return True
            if end:
                return False
            states = (self._states[number] for number in now)
            now = {state.after[0] for state in states if state.letter is not None and state.letter.takes(text[at])}
        return False

    def _closure(self, numbers: set[int], *, begin: bool, end: bool) -> set[int]:
        """Return the states that are reached without reading anything."""
        found, waiting = set(numbers), list(numbers)
        while waiting:
            state = self._states[waiting.pop()]
            if state.letter is not None or (state.edge == "begin" and not begin) or (state.edge == "end" and not end):
                continue
            for number in state.after:
                if number not in found:
                    found.add(number)
                    waiting.append(number)
        return found

    def _compile(self, node: _Node, after: int) -> int:
        """Return the first state of a part that goes on to `after`."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise BadInput("the expression is too large")
        match node:
            case _Letter():
                return self._add(_State((after,), letter=node))
            case _Edge(at):
                return self._add(_State((after,), edge=at))
            case _Sequence(parts):
                for part in reversed(parts):
                    after = self._compile(part, after)
                return after
            case _Choice(branches):
                return self._add(_State(tuple(self._compile(branch, after) for branch in branches)))
            case _Repeat(part, least, most):
                return self._compile_repeat(part, least, most, after)

    def _compile_repeat(self, part: _Node, least: int, most: int | None, after: int) -> int:
        if most is None:
            loop = self._add(_State(()))
            self._states[loop].after = (self._compile(part, loop), after)
            first = loop
        else:
            first = after
            for _ in range(most - least):
                first = self._add(_State((self._compile(part, first), after)))
        for _ in range(least):
            first = self._compile(part, first)
        return first

    def _add(self, state: _State) -> int:
        if len(self._states) >= _MOST_STATES:
            raise BadInput("the expression is too large")
        self._states.append(state)
        return len(self._states) - 1


class _Reader:
    """Reads an expression from left to right (RE2's syntax, without what the module refuses)."""

    def __init__(self, pattern: str) -> None:
        self._text, self._at, self._depth = pattern, 0, 0

    def read(self) -> _Node:
        node = self._choice()
        if self._at < len(self._text):
            raise BadInput("the expression has a ')' too many")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        letter = self._peek()
        if not letter:
            raise BadInput("the expression ends too early")
        self._at += 1
        return letter

    def _skip(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _choice(self) -> _Node:
        branches = [self._sequence()]
        while self._skip("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _Choice(tuple(branches))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return _Sequence(tuple(parts))

    def _atom(self) -> _Node:
        letter = self._take()
        edges: dict[str, _Node] = {"^": _Edge("begin"), "$": _Edge("end"), ".": _Letter((("\n", "\n"),), negated=True)}
        if letter in edges:
            return edges[letter]
        if letter == "(":
            return self._group()
        if letter == "[":
            return self._class()
        if letter == "\\":
            return self._escape()
        if letter in "*+?":
            raise BadInput(f"the expression has nothing before its {letter!r}")
        return _Letter(((letter, letter),))

    def _group(self) -> _Node:
        if self._skip("?") and not self._skip(":"):
            raise BadInput("the expression has a flag or a name in a group: not supported")
        self._depth += 1
        if self._depth > 50:
            raise BadInput("the expression is nested too deeply")
        node = self._choice()
        self._depth -= 1
        if not self._skip(")"):
            raise BadInput("the expression lacks a ')'")
        return node

    def _repeated(self, part: _Node) -> _Node:
        bounds = self._bounds()
        if bounds is None:
            return part
        self._skip("?")  # lazily: the same matches
        if self._bounds() is not None:
            raise BadInput("the expression repeats a repetition")
        return _Repeat(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._skip(sign):
                return bounds
        end = self._text.find("}", self._at)
        least, comma, most = self._text[self._at + 1 : end].partition(",")
        if self._peek() != "{" or end < 0 or not _is_number(least) or (most and not _is_number(most)):
            return None  # a brace that is a letter
        self._at = end + 1
        upper = int(most) if most else None if comma else int(least)
        if int(least) > _MOST_REPEATS or (upper is not None and not int(least) <= upper <= _MOST_REPEATS):
            raise BadInput("the expression repeats too often")
        return int(least), upper

    def _escape(self) -> _Letter:
        letter = self._take()
        if letter.lower() in _CLASSES:
            return _Letter(_CLASSES[letter.lower()], negated=letter.isupper())
        if letter in _CONTROLS or not (letter.isascii() and letter.isalnum()):
            literal = _CONTROLS.get(letter, letter)
            return _Letter(((literal, literal),))
        raise BadInput(f"the expression has \\{letter}: not supported")

    def _class(self) -> _Letter:
        negated = self._skip("^")
        ranges: list[tuple[str, str]] = []
        while not ranges or self._peek() != "]":
            if self._text.startswith("[:", self._at):
                raise BadInput("the expression has a named class: not supported")
            low = self._member(ranges)
            if low is None:
                continue
            high = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._member([]) or ""
            if high < low:
                raise BadInput("the expression has a range from high to low")
            ranges.append((low, high))
        self._at += 1
        return _Letter(tuple(ranges), negated)

    def _member(self, ranges: list[tuple[str, str]]) -> str | None:
        """Return a character of a class; add a whole class's ranges instead, where it names one."""
        letter = self._take()
        if letter != "\\":
            return letter
        found = self._escape()
        if found.negated:
            raise BadInput("the expression has a negated class in a class: not supported")
        if len(found.ranges) == 1 and found.ranges[0][0] == found.ranges[0][1]:
            return found.ranges[0][0]
        ranges += found.ranges
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Regexp:
    """Return an expression, compiled once; raises `BadInput`."""
    return Regexp(pattern)


def escape(text: str) -> str:
    """Return an expression that matches this text and nothing else."""
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)

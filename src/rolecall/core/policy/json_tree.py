"""JSON as policies use it, read strictly: no repeated keys, no lone surrogates, every value with its path."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from rolecall.errors import BadPolicy

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_:/.-]{1,128}", re.ASCII)


class _Number(str):
    """A JSON number, kept as it was written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object; `repeated` is the first key that stands in it twice."""

    members: dict[str, object]
    repeated: str | None


def _object(pairs: list[tuple[str, object]]) -> _Object:
    members: dict[str, object] = {}
    repeated = None
    for key, value in pairs:
        if key in members and repeated is None:
            repeated = key
        members[key] = value
    return _Object(members, repeated)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class Node:
    """A value somewhere in a document. All its methods raise `BadPolicy` with the path of what is wrong."""

    path: str
    value: object

    def fail(self, message: str) -> NoReturn:
        """Raise `BadPolicy` about this value."""
        raise BadPolicy(self.path, message)

    def fields(self) -> dict[str, Node]:
        """Return the members of an object."""
        if not isinstance(self.value, _Object):
            self.fail(f"must be an object, not {self.kind}")
        if self.value.repeated is not None:
            raise BadPolicy(_join(self.path, self.value.repeated), "is given twice in one object")
        return {key: Node(_join(self.path, key), member) for key, member in self.value.members.items()}

    def text(self) -> str:
        """Return a string."""
        if not isinstance(self.value, str) or isinstance(self.value, _Number):
            self.fail(f"must be a string, not {self.kind}")
        if not self.value.isascii() and any("\ud800" <= char <= "\udfff" for char in self.value):
            self.fail("holds half of a surrogate pair, which is no character")
        return self.value

    def scalar(self) -> str:
        """Return a string, a number as it is written, or ``true`` or ``false``."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, _Number):
            return str(self.value)
        return self.text()

    def elements(self) -> list[Node]:
        """Return the elements of an array, or the value itself as the only one."""
        if not isinstance(self.value, list):
            return [self]
        return [Node(f"{self.path}[{index}]", element) for index, element in enumerate(self.value)]

    @property
    def is_object(self) -> bool:
        """Whether the value is an object."""
        return isinstance(self.value, _Object)

    @property
    def kind(self) -> str:
        """What the value is, in words."""
        if self.value is None:
            return "null"
        names = {
            _Object: "an object",
            list: "an array",
            bool: "a boolean",
            _Number: "a number",
            str: "a string",
        }
        return names[type(self.value)]


def _join(path: str, key: str) -> str:
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}"
    return f"{path}[{json.dumps(key[:64])}]"


def read_json(text: str | bytes, *, longest: int) -> Node:
    """Return the root of a document of at most `longest` bytes of UTF-8, or raise `BadPolicy`."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        if len(raw) > longest:
            raise BadPolicy("$", f"is {len(raw)} bytes long; at most {longest} are read")
        value = json.loads(
            raw.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_Number,
            parse_float=_Number,
        )
    except UnicodeError:
        raise BadPolicy("$", "is not UTF-8 text") from None
    except RecursionError:
        raise BadPolicy("$", "is nested too deeply") from None
    except json.JSONDecodeError as fault:
        raise BadPolicy("$", f"is not JSON: {fault.msg} (line {fault.lineno}, column {fault.colno})") from None
    except ValueError as fault:
        raise BadPolicy("$", f"is not JSON: {fault}") from None
    return Node("$", value)

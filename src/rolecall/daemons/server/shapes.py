"""Parameters checked against the shapes that AWS publishes with its SDKs (the botocore service models).

The service models say which members an operation takes, which are required, how long and of what form they
are. Reading them, instead of writing the same by hand, is what makes unmodified clients agree with us.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

_LONGEST_SHOWN = 80


@functools.cache
def service_model(name: str) -> ServiceModel:
    """Return AWS's published model of a service such as ``iam``."""
    import botocore.session

    return botocore.session.Session().get_service_model(name)


def faults(shape: Shape, value: Any, at: str = "") -> Iterator[str]:
    """Yield what is wrong with `value`, in the words AWS uses, one fault a string."""
    if isinstance(shape, StructureShape):
        yield from _structure_faults(shape, value, at)
    elif isinstance(shape, ListShape):
        yield from _size_faults(shape, len(value), at, value)
        for number, member in enumerate(value, start=1):
            yield from faults(shape.member, member, f"{at}.{number}.member")
    elif isinstance(shape, MapShape):
        yield from _size_faults(shape, len(value), at, value)
        for key, member in value.items():
            yield from faults(shape.key, key, at)
            yield from faults(shape.value, member, f"{at}.{key}")
    elif shape.type_name == "string":
        yield from _string_faults(shape, value, at)
    elif shape.type_name in ("integer", "long"):
        yield from _range_faults(shape, value, at)


def _structure_faults(shape: StructureShape, value: Mapping[str, Any], at: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_join(at, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in value.items():
        if member is not None and name in shape.members:
            yield from faults(shape.members[name], member, _join(at, name))


def _string_faults(shape: Shape, value: str, at: str) -> Iterator[str]:
    yield from _size_faults(shape, len(value), at, value)
    pattern = shape.metadata.get("pattern")
    if pattern and (compiled := _compiled(pattern)) and not compiled.fullmatch(value):
        yield _fault(shape, value, at, f"Member must satisfy regular expression pattern: {pattern}")
    choices = shape.metadata.get("enum")
    if choices and value not in choices:
        yield _fault(shape, value, at, f"Member must satisfy enum value set: [{', '.join(choices)}]")


def _size_faults(shape: Shape, size: int, at: str, value: Any) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if most is not None and size > most:
        yield _fault(shape, value, at, f"Member must have length less than or equal to {most}")
    if least is not None and size < least:
        yield _fault(shape, value, at, f"Member must have length greater than or equal to {least}")


def _range_faults(shape: Shape, value: int, at: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if most is not None and value > most:
        yield _fault(shape, value, at, f"Member must have value less than or equal to {most}")
    if least is not None and value < least:
        yield _fault(shape, value, at, f"Member must have value greater than or equal to {least}")


def _fault(shape: Shape, value: Any, at: str, rule: str) -> str:
    if shape.metadata.get("sensitive") or not isinstance(value, str | int):
        return f"Value at '{at}' failed to satisfy constraint: {rule}"
    shown = str(value)
    shown = shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "..."
    return f"Value '{shown}' at '{at}' failed to satisfy constraint: {rule}"


def _join(at: str, name: str) -> str:
    lowered = name[:1].lower() + name[1:]
    return f"{at}.{lowered}" if at else lowered


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    r"""Return the pattern for Python, or None for one that Python cannot read.

    The models hold Java patterns; those with ``\p{…}`` have no twin in `re`, and what they guard (tags) is
    checked by `rolecall.core.session.check_tags`.
    """
    try:
        return re.compile(pattern, re.ASCII | re.DOTALL)
    except re.error:
        return None


def input_faults(operation: OperationModel, params: Mapping[str, Any]) -> str | None:
    """Return AWS's sentence about all faults of the parameters, or None where there is none."""
    if operation.input_shape is None:
        return None
    found = list(faults(operation.input_shape, params))
    if not found:
        return None
    plural = "error" if len(found) == 1 else "errors"
    return f"{len(found)} validation {plural} detected: {'; '.join(found[:10])}"

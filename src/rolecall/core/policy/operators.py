"""Condition operators: one table row for each, and what a condition means.

Source: IAM User Guide, "Condition operators", "Conditions with multiple context keys or values" and
"Single-valued vs. multivalued context keys". A new operator is a new row of `OPERATORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.match import ArnPattern, Pattern, is_arn
from rolecall.core.policy.variables import parse_template

Operand = Callable[[str, RequestContext], bool]
"""One value of a condition, ready: says whether a request's value matches. A variable that does not
resolve matches nothing."""


def _text(text: str, variables: bool, *, ignore_case: bool) -> Operand:
    """Equal text; lower-cased first where case is ignored (AWS lowers, it does not case-fold)."""
    template = parse_template(text, variables=variables, wildcards=False)

    def expand(context: RequestContext) -> str | None:
        atoms = template.expand(context)
        return None if atoms is None else "".join(atom for atom in atoms if isinstance(atom, str))

    if template.variables and ignore_case:
        return lambda actual, context: (wanted := expand(context)) is not None and wanted.lower() == actual.lower()
    if template.variables:
        return lambda actual, context: expand(context) == actual
    fixed = expand(RequestContext()) or ""
    if ignore_case:
        lowered = fixed.lower()
        return lambda actual, _context: actual.lower() == lowered
    return lambda actual, _context: actual == fixed


def _equal(text: str, variables: bool) -> Operand:
    return _text(text, variables, ignore_case=False)


def _equal_ignoring_case(text: str, variables: bool) -> Operand:
    return _text(text, variables, ignore_case=True)


def _like(text: str, variables: bool) -> Operand:
    return Pattern(parse_template(text, variables=variables, wildcards=True)).matches


def _arn(text: str, variables: bool) -> Operand:
    return ArnPattern(parse_template(text, variables=variables, wildcards=True)).matches


def _truth(text: str, _variables: bool) -> Operand:
    """``true`` or ``false``. A request's value that is not ``true`` counts as false, as in AWS."""
    if text.lower() not in {"true", "false"}:
        raise ValueError(f'{text[:64]!r} is neither "true" nor "false"')
    wanted = text.lower() == "true"
    return lambda actual, _context: (actual.lower() == "true") is wanted


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the table.

    `compile` prepares one policy value (text, whether variables are expanded) or raises `ValueError`.
    `negated` turns the result over: the value must match none. `readable` says whether a request's value
    can be compared at all; one that cannot matches nothing, negated or not. `presence` marks `Null`.
    """

    compile: Callable[[str, bool], Operand]
    negated: bool = False
    readable: Callable[[str], bool] | None = None
    presence: bool = False


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "StringEquals": Operator(_equal),
        "StringNotEquals": Operator(_equal, negated=True),
        "StringEqualsIgnoreCase": Operator(_equal_ignoring_case),
        "StringNotEqualsIgnoreCase": Operator(_equal_ignoring_case, negated=True),
        "StringLike": Operator(_like),
        "StringNotLike": Operator(_like, negated=True),
        "ArnEquals": Operator(_arn, readable=is_arn),
        "ArnNotEquals": Operator(_arn, negated=True, readable=is_arn),
        "ArnLike": Operator(_arn, readable=is_arn),
        "ArnNotLike": Operator(_arn, negated=True, readable=is_arn),
        "Bool": Operator(_truth),
        "Null": Operator(_truth, presence=True),
    }
)

_ORDERED = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
NOT_YET = frozenset(
    {f"{kind}{comparison}" for kind in ("Numeric", "Date") for comparison in _ORDERED}
    | {"BinaryEquals", "IpAddress", "NotIpAddress"}
)
"""Operators that AWS has and this engine does not: refused when a policy is read, never ignored."""

Quantifier = Literal["", "ForAnyValue", "ForAllValues"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operator as written in a policy: with its quantifier and its ``IfExists``."""

    operator: Operator
    quantifier: Quantifier
    if_exists: bool


def read_operator(text: str) -> Comparison:
    """Return the comparison that an operator name means, or raise `ValueError`. Names are case-sensitive."""
    prefix, colon, rest = text.rpartition(":")
    quantifier: Quantifier = ""
    if colon:
        if prefix not in {"ForAnyValue", "ForAllValues"}:
            raise ValueError(f"unknown prefix {prefix[:64]!r}: only ForAnyValue: and ForAllValues: exist")
        quantifier = "ForAnyValue" if prefix == "ForAnyValue" else "ForAllValues"
    name = rest.removesuffix("IfExists")
    if name in NOT_YET:
        raise ValueError(f"the condition operator {name} is not supported yet")
    operator = OPERATORS.get(name)
    if operator is None:
        raise ValueError(_unknown(name))
    if operator.presence and name != text:
        raise ValueError(f"{name} takes neither IfExists nor a ForAnyValue: or ForAllValues: prefix")
    return Comparison(operator, quantifier, if_exists=name != rest)


def _unknown(name: str) -> str:
    meant = next((known for known in OPERATORS if known.lower() == name.lower()), None)
    hint = f"; did you mean {meant}?" if meant else ""
    return f"unknown condition operator {name[:64]!r}{hint}"


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator and one key of a Condition element, with its values as written.

    `operator` is the name as written, `key` the condition key as written, `name` the key in lower case.
    `holds_when_missing` says whether the condition is true for a request without the key,
    `may_hold_when_present` whether some value of the key could make it true.
    """

    operator: str
    key: str
    name: str
    values: tuple[str, ...]
    operands: tuple[Operand, ...]
    quantifier: Quantifier
    negated: bool
    readable: Callable[[str], bool] | None
    presence: bool
    holds_when_missing: bool
    may_hold_when_present: bool

    @classmethod
    def build(
        cls,
        written: str,
        comparison: Comparison,
        key: str,
        values: tuple[str, ...],
        operands: tuple[Operand, ...],
    ) -> Condition:
        """Return the condition of an operator, as written and as read, on a key and its values."""
        operator, quantifier = comparison.operator, comparison.quantifier
        if operator.presence:
            missing = any(matches("true", _EMPTY) for matches in operands)
            present = any(matches("false", _EMPTY) for matches in operands)
        elif quantifier:
            missing = quantifier == "ForAllValues"
            present = missing or bool(operands)
        else:
            missing = comparison.if_exists or (operator.negated and bool(operands))
            present = bool(operands)
        return cls(
            operator=written,
            key=key,
            name=key.lower(),
            values=values,
            operands=operands,
            quantifier=quantifier,
            negated=operator.negated,
            readable=operator.readable,
            presence=operator.presence,
            holds_when_missing=missing,
            may_hold_when_present=present,
        )

    def holds(self, context: RequestContext) -> bool:
        """Say whether the condition is true for the request.

        - A missing key: true with ``ForAllValues`` and (without ``ForAnyValue``) with ``IfExists``; else
          true just for a negated operator.
        - A multi-valued key without a quantifier: never true, also not negated or with ``IfExists``.
        - A single value under a quantifier counts as a set of one; ``ForAllValues`` of none is true.
        - Values of the policy are joined by OR, and by NOR where the operator is negated. A list of no
          values matches nothing, negated or not.
        - ``Null`` tests presence alone: an empty string and an empty set are present.
        """
        value = context.lookup(self.name)
        if value is None:
            return self.holds_when_missing
        if self.presence:
            return self.may_hold_when_present
        if not self.quantifier:
            return isinstance(value, str) and self._compare(value, context)
        elements = (value,) if isinstance(value, str) else value
        if self.quantifier == "ForAllValues":
            return all(self._compare(element, context) for element in elements)
        return any(self._compare(element, context) for element in elements)

    def _compare(self, actual: str, context: RequestContext) -> bool:
        if not self.operands or (self.readable is not None and not self.readable(actual)):
            return False
        for matches in self.operands:
            if matches(actual, context):
                return not self.negated
        return self.negated


_EMPTY = RequestContext()

"""Policy documents: JSON text to a `Policy` that is ready to be evaluated, or `BadPolicy`.

Source: IAM User Guide, "Grammar of the IAM JSON policy language". What cannot be read or is not
supported is refused here, with its path: evaluation never meets an unknown element or operator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rolecall.core.policy.json_tree import Node, read_json
from rolecall.core.policy.match import ActionPatterns, Principals, ResourcePatterns
from rolecall.core.policy.operators import Comparison, Condition, Operand, read_operator
from rolecall.core.policy.principals import read_principals
from rolecall.core.policy.variables import parse_template
from rolecall.errors import BadPolicy

Kind = Literal["identity", "trust"]
Effect = Literal["Allow", "Deny"]

LONGEST_DOCUMENT = 20_480
"""Bytes that are read at all. IAM's quotas are smaller and are the caller's to enforce."""

WITH_VARIABLES = "2012-10-17"
WITHOUT_VARIABLES = "2008-10-17"  # also what a document without Version is

# STS actions that a trust policy may name: IAM refuses others with "AssumeRole policy may only
# specify STS AssumeRole actions."
TRUST_ACTIONS = (
    "sts:assumerole",
    "sts:assumerolewithsaml",
    "sts:assumerolewithwebidentity",
    "sts:setcontext",
    "sts:setsourceidentity",
    "sts:tagsession",
)

_SID = re.compile(r"[A-Za-z0-9]*", re.ASCII)
_ACTION = re.compile(r"\*|\*:\*|[A-Za-z0-9][A-Za-z0-9-]*:[A-Za-z0-9_.*?-]+", re.ASCII)
_SPACE_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"|([ \t\r\n]+)', re.DOTALL)

_POLICY_ELEMENTS = {"Version", "Id", "Statement"}
_STATEMENT_ELEMENTS = {
    "identity": {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"},
    "trust": {"Sid", "Effect", "Principal", "Action", "NotAction", "Condition"},
}
_PROHIBITED = {
    "identity": {"Principal", "NotPrincipal"},
    "trust": {"Resource", "NotResource"},
}
_WHY_PROHIBITED = {
    "identity": "the identity that the policy is attached to is the principal",
    "trust": "the role that the policy belongs to is the resource",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `principals` is None in identity policies, `resources` None in trust policies.

    `sid` is empty where none is given. `ref` names the statement in explanations: its Sid, or its place
    as ``Statement[2]``.
    """

    index: int
    sid: str
    effect: Effect
    actions: ActionPatterns
    resources: ResourcePatterns | None
    principals: Principals | None
    conditions: tuple[Condition, ...]
    ref: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document that was read without a fault."""

    version: str
    id: str
    statements: tuple[Statement, ...]


def parse_policy(text: str | bytes, kind: Kind) -> Policy:
    """Read an identity policy or a role's trust policy.

    Raises `BadPolicy` with the path of the first fault, such as ``$.Statement[0].Condition.StringFoo``.
    """
    root = read_json(text, longest=LONGEST_DOCUMENT)
    fields = root.fields()
    for name, node in fields.items():
        if name not in _POLICY_ELEMENTS:
            node.fail("is not an element of a policy: Version, Id and Statement are")
    version = _version(fields.get("Version"))
    identifier = fields["Id"].text() if "Id" in fields else ""
    if "Statement" not in fields:
        raise BadPolicy("$", "Missing required field Statement")
    node = fields["Statement"]
    elements = node.elements()
    if not elements:
        node.fail("must hold at least one statement")
    statements = tuple(
        _statement(element, index, kind, variables=version == WITH_VARIABLES) for index, element in enumerate(elements)
    )
    _check_sids(elements, statements)
    return Policy(version, identifier, statements)


def minified_length(text: str) -> int:
    """Return the size that IAM counts: characters, without white space outside strings."""
    return len(text) - sum(len(found[1] or "") for found in _SPACE_OR_STRING.finditer(text))


def _version(node: Node | None) -> str:
    if node is None:
        return WITHOUT_VARIABLES
    if node.text() not in {WITH_VARIABLES, WITHOUT_VARIABLES}:
        node.fail(f"must be {WITH_VARIABLES} or {WITHOUT_VARIABLES}")
    return node.text()


def _check_sids(nodes: list[Node], statements: tuple[Statement, ...]) -> None:
    seen: set[str] = set()
    for node, statement in zip(nodes, statements, strict=True):
        if statement.sid and statement.sid in seen:
            raise BadPolicy(f"{node.path}.Sid", f"{statement.sid[:64]} is used twice: Sids in one policy are unique")
        seen.add(statement.sid)


def _statement(node: Node, index: int, kind: Kind, *, variables: bool) -> Statement:
    fields = node.fields()
    for name, field in fields.items():
        if name in _PROHIBITED[kind]:
            field.fail(f"Has prohibited field {name}: {_WHY_PROHIBITED[kind]}")
        if name == "NotPrincipal":
            field.fail("NotPrincipal is not supported yet; use Principal")
        if name not in _STATEMENT_ELEMENTS[kind]:
            field.fail("is not an element of a statement")
    sid = fields["Sid"].text() if "Sid" in fields else ""
    if not _SID.fullmatch(sid):
        fields["Sid"].fail("may hold only letters A-Z and a-z and digits")
    return Statement(
        index=index,
        sid=sid,
        effect=_effect(node, fields),
        actions=_actions(node, fields, kind),
        resources=_resources(node, fields, variables=variables) if kind == "identity" else None,
        principals=_principals(node, fields) if kind == "trust" else None,
        conditions=_conditions(fields.get("Condition"), variables=variables),
        ref=sid or f"Statement[{index}]",
    )


def _effect(statement: Node, fields: dict[str, Node]) -> Effect:
    if "Effect" not in fields:
        raise BadPolicy(statement.path, "Missing required field Effect")
    text = fields["Effect"].text()
    if text == "Allow":
        return "Allow"
    if text == "Deny":
        return "Deny"
    return fields["Effect"].fail("must be Allow or Deny")


def _one_of(statement: Node, fields: dict[str, Node], name: str) -> tuple[list[Node], bool]:
    """Return the values of `name` or of its negation, and whether it was the negation."""
    negation = f"Not{name}"
    if name in fields and negation in fields:
        fields[negation].fail(f"stands beside {name}: a statement has one of the two")
    field = fields.get(name) or fields.get(negation)
    if field is None:
        raise BadPolicy(statement.path, f"Missing required field {name}")
    values = field.elements()
    if not values:
        field.fail("must hold at least one value")
    return values, negation in fields


def _actions(statement: Node, fields: dict[str, Node], kind: Kind) -> ActionPatterns:
    nodes, negated = _one_of(statement, fields, "Action")
    for node in nodes:
        text = node.text()
        if not _ACTION.fullmatch(text):
            node.fail('must be "*" or a vendor, a colon and an action, such as "sts:AssumeRole" or "iam:Get*"')
        if kind == "trust" and not _is_trust_action(text):
            node.fail("AssumeRole policy may only specify STS AssumeRole actions")
    return ActionPatterns((node.text() for node in nodes), negated=negated)


def _is_trust_action(text: str) -> bool:
    patterns = ActionPatterns((text,))
    return any(patterns.cover(action) for action in TRUST_ACTIONS)


def _resources(statement: Node, fields: dict[str, Node], *, variables: bool) -> ResourcePatterns:
    nodes, negated = _one_of(statement, fields, "Resource")
    for node in nodes:
        _check_resource(node, variables=variables)
    return ResourcePatterns((node.text() for node in nodes), negated=negated, variables=variables)


def _check_resource(node: Node, *, variables: bool) -> None:
    """Refuse what is neither ``*`` nor an ARN pattern.

    The pattern has six fields, or fewer where its last character is a ``*`` that stands for the rest;
    variables stand after the fifth colon only (IAM User Guide, "Where you can use policy variables").
    """
    text = node.text()
    if text == "*":
        return
    try:
        parts = parse_template(text, variables=variables, wildcards=True).split(":", 5)
    except ValueError as fault:
        node.fail(str(fault))
    if not text.startswith("arn:") or (len(parts) < 6 and not text.endswith("*")):
        node.fail(f'Resource {text[:128]} must be in ARN format or "*"')
    if any(part.variables for part in parts[:5]):
        node.fail("a policy variable may stand only in the last part of an ARN, after the fifth colon")


def _principals(statement: Node, fields: dict[str, Node]) -> Principals:
    if "Principal" not in fields:
        raise BadPolicy(statement.path, "Missing required field Principal")
    return read_principals(fields["Principal"])


def _conditions(block: Node | None, *, variables: bool) -> tuple[Condition, ...]:
    if block is None:
        return ()
    conditions: list[Condition] = []
    for name, keys in block.fields().items():
        try:
            comparison = read_operator(name)
        except ValueError as fault:
            keys.fail(str(fault))
        members = keys.fields()
        if not members:
            keys.fail("must name at least one condition key")
        for key, node in members.items():
            if ":" not in Node(node.path, key).text().strip(":"):
                node.fail("is not a condition key: one has a prefix and a colon, such as aws:PrincipalArn")
            values = node.elements()
            operands = tuple(_operand(comparison, value, variables=variables) for value in values)
            texts = tuple(value.scalar() for value in values)
            conditions.append(Condition.build(name, comparison, key, texts, operands))
    return tuple(conditions)


def _operand(comparison: Comparison, value: Node, *, variables: bool) -> Operand:
    try:
        return comparison.operator.compile(value.scalar(), variables)
    except ValueError as fault:
        value.fail(str(fault))

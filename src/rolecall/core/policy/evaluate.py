"""Evaluation of identity policies: what is allowed, by which statement, and what nearly did.

Source: IAM User Guide, "Policy evaluation logic": everything is denied by default, an Allow overrides
that, and an explicit Deny overrides every Allow. The order of statements and policies does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from rolecall.core.policy.context import RequestContext, Value
from rolecall.core.policy.document import Policy, Statement
from rolecall.core.policy.match import Requester
from rolecall.core.policy.operators import Condition


class Verdict(Enum):
    """What the policies say about a request."""

    ALLOW = "allow"
    EXPLICIT_DENY = "explicit-deny"
    IMPLICIT_DENY = "implicit-deny"


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """A policy with the name that explanations call it by."""

    name: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request for one action on one resource. `resource` is an ARN, or ``*`` where the action has none."""

    action: str
    resource: str
    requester: Requester
    context: RequestContext


@dataclass(frozen=True, slots=True)
class NearMiss:
    """An Allow statement that covers the action, and the first thing in it that failed.

    `failed` says which element. `expected` is what the statement wants, as written; `actual` what the
    request has: None where it has nothing, a tuple for a multi-valued key. `operator` and `key` are set
    for conditions.
    """

    ref: str
    failed: Literal["resource", "principal", "condition"]
    expected: tuple[str, ...]
    actual: Value | None
    operator: str = ""
    key: str = ""

    @property
    def sentence(self) -> str:
        """One sentence for people."""
        wanted = " or ".join(repr(text) for text in self.expected) or "nothing"
        has = "nothing" if self.actual is None else repr(self.actual)
        if self.failed == "condition":
            return f"{self.ref} wants {self.operator} {self.key} {wanted}; the request has {has}"
        return f"{self.ref} is for the {self.failed} {wanted}; the request has {has}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict, and the statements it rests on as ``policy-name/Sid`` (all of them, in order).

    `near` is filled for an implicit deny only, where no statement decided.
    """

    verdict: Verdict
    deciding: tuple[str, ...] = ()
    near: tuple[NearMiss, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.verdict is Verdict.ALLOW


def evaluate(policies: Sequence[NamedPolicy], request: AccessRequest) -> Outcome:
    """Judge a request by the identity policies of whoever makes it.

    A statement of a trust policy, which has no resources, never applies here.
    """
    action, resource, context = request.action.lower(), request.resource, request.context
    allows: list[str] = []
    denies: list[str] = []
    missed: list[tuple[str, Statement, Condition | None]] = []
    for named in policies:
        for statement in named.policy.statements:
            resources = statement.resources
            if resources is None or not statement.actions.cover(action):
                continue
            if not resources.cover(resource, context):
                missed.append((named.name, statement, None))
                continue
            failed = failed_condition(statement, context)
            if failed is not None:
                missed.append((named.name, statement, failed))
            elif statement.effect == "Allow":
                allows.append(f"{named.name}/{statement.ref}")
            else:
                denies.append(f"{named.name}/{statement.ref}")
    if denies:
        return Outcome(Verdict.EXPLICIT_DENY, tuple(denies))
    if allows:
        return Outcome(Verdict.ALLOW, tuple(allows))
    near = tuple(_near(*miss, request) for miss in missed if miss[1].effect == "Allow")
    return Outcome(Verdict.IMPLICIT_DENY, near=near)


def failed_condition(statement: Statement, context: RequestContext) -> Condition | None:
    """Return the first condition of the statement that is not true, or None."""
    for condition in statement.conditions:
        if not condition.holds(context):
            return condition
    return None


def condition_miss(ref: str, condition: Condition, context: RequestContext) -> NearMiss:
    """Describe a condition that failed."""
    actual = context.lookup(condition.name)
    return NearMiss(ref, "condition", condition.values, actual, condition.operator, condition.key)


def _near(policy: str, statement: Statement, failed: Condition | None, request: AccessRequest) -> NearMiss:
    """Describe an Allow statement that did not apply: by a condition, or else by its resources."""
    ref = f"{policy}/{statement.ref}"
    resources = statement.resources
    if failed is not None:
        return condition_miss(ref, failed, request.context)
    assert resources is not None, "only statements with resources are judged"
    expected = tuple(f"not {text}" if resources.negated else text for text in resources.texts)
    return NearMiss(ref, "resource", expected, request.resource)

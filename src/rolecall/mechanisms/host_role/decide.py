"""May something on this node have the node's role? Nobody decides; the operator may only have asked for that."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.caller import OnNode
from rolecall.core.grant import Decision, Grant, Hop, Refusal
from rolecall.core.names import RoleArn
from rolecall.core.session import SessionSpec
from rolecall.mechanisms.imds.door import Asked

DURATION = 21_600  # about what EC2 gives; it decides, and nobody can ask it for another


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the decision reads. `by_name`: the operator has asked for ``host-role`` by this name.

    `role` is None where the node has none; `session` is what EC2 calls its session, the instance's id.
    """

    caller: OnNode
    by_name: bool
    role: RoleArn | None
    session: str


def decide(asked: Asked, facts: Facts) -> Decision:
    """Return the grant, or the refusal: ``host-role-off``, ``no-node-role``, ``other-role``."""
    if not facts.by_name:
        return Refusal(
            "host-role-off",
            "the node's own role is given to nobody",
            "give the pod a role of its own; host-role has to be asked for by name",
        )
    if facts.role is None:
        return Refusal("no-node-role", f"node {facts.caller.node} has no role", "give it an instance profile")
    if asked.what == "credentials" and asked.role != facts.role.name:
        return Refusal("other-role", f"the node's role is {facts.role.name}, and it has no other")
    session = SessionSpec(facts.session, DURATION)
    return Grant((Hop(facts.role, session),), (f"host-role: every pod on {facts.caller.node} is the node",))

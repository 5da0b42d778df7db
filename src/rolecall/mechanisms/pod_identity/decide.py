"""Which role the pod gets: the one that its service account is associated with, if the pod still runs."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.caller import HoldsToken
from rolecall.core.grant import Decision, Grant, Hop, Refusal
from rolecall.core.records import Association, ClusterFacts, PodFacts
from rolecall.core.session import POD_IDENTITY_TAG_KEYS, SessionSpec, pod_identity_session_name
from rolecall.core.source import Ask
from rolecall.core.tokens.claims import KubernetesClaims

# EKS User Guide, "Understand how EKS Pod Identity works": six hours, 59 minutes where a target role is chained.
DURATION = 21_600
CHAINED_DURATION = 3_540


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the decision reads. `pod` is None where the cluster knows no pod of the token's UID.

    `session_id` is a fresh UUID: it makes the session name unique.
    """

    cluster: ClusterFacts
    caller: HoldsToken
    pod: PodFacts | None
    association: Association | None
    session_id: str


def decide(ask: Ask, facts: Facts) -> Decision:
    """Return the grant, or the refusal with its reason: ``no-association``, ``pod-gone``, ``agent-on-another-node``."""
    claims = _pod_claims(facts)
    if facts.pod is None or not facts.pod.running:
        return Refusal(
            "pod-gone",
            f"pod {claims.namespace}/{claims.pod_name} of this token does not run any more",
            "a token dies with its pod; use the token of a running one",
        )
    if (facts.pod.namespace, facts.pod.service_account) != (claims.namespace, claims.service_account):
        return Refusal("pod-gone", f"pod {facts.pod.name} runs under another service account than this token says")
    if ask.agent_node is not None and ask.agent_node != facts.pod.node:
        return Refusal(
            "agent-on-another-node",
            "its pod runs on another node than the agent that asks",
            "an agent may ask for pods of its own node alone: look at who holds this token, or the agent's",
        )
    association = facts.association
    if association is None:
        return Refusal(
            "no-association",
            f"service account {claims.namespace}/{claims.service_account} has no association in cluster "
            f"{facts.cluster.name}",
            "create one: aws eks create-pod-identity-association",
        )
    return Grant(_hops(facts, association), (association.id,))


def _pod_claims(facts: Facts) -> KubernetesClaims:
    claims = facts.caller.claims.kubernetes
    assert claims is not None, "identify believes only tokens that are bound to a pod"
    return claims


def session_tags(facts: Facts) -> dict[str, str]:
    """Return the six session tags, all transitive (EKS User Guide, session tags)."""
    claims = _pod_claims(facts)
    values = (
        facts.cluster.arn,
        str(facts.cluster.name),
        str(claims.namespace),
        str(claims.service_account),
        str(claims.pod_name),
        str(claims.pod_uid),
    )
    return dict(zip(POD_IDENTITY_TAG_KEYS, values, strict=True))


def _hops(facts: Facts, association: Association) -> tuple[Hop, ...]:
    """Return the role, then the target role: its session inherits the transitive tags."""
    name = pod_identity_session_name(facts.cluster.name, str(_pod_claims(facts).pod_name), facts.session_id)
    tags = {} if association.disable_session_tags else session_tags(facts)
    duration = DURATION if association.target_role is None else CHAINED_DURATION
    first = Hop(association.role, SessionSpec(name, duration, tags, frozenset(tags)))
    if association.target_role is None:
        return (first,)
    chained = SessionSpec(name, CHAINED_DURATION, external_id=association.external_id)
    return (first, Hop(association.target_role, chained))

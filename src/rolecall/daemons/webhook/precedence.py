"""Which generation a pod is injected for, where its service account could have either.

AWS's webhook takes the association first and the annotation second (aws-pod-identity.md §2.2). ``rolecall run``
gives a program what this says, so that it gets what its pod would get.
"""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.grant import Refusal
from rolecall.core.injection import Generation, Injection, Place
from rolecall.core.records import ServiceAccountFacts
from rolecall.mechanisms.irsa import inject as irsa
from rolecall.mechanisms.pod_identity import inject as pod_identity


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a pod runs, where its tokens are mounted, and where the agent's door is."""

    place: Place
    full_uri: str = pod_identity.FULL_URI
    pod_identity_mount: str = pod_identity.MOUNT_PATH
    irsa_mount: str = irsa.MOUNT_PATH


def prefer(*, association: bool, annotated: bool, only: Generation | None = None) -> Generation | None:
    """Return the generation of a service account that has these; `only` leaves one to choose from."""
    if association and only != "irsa":
        return "pod-identity"
    if annotated and only != "pod-identity":
        return "irsa"
    return None


def choose(
    account: ServiceAccountFacts,
    association_id: str | None,
    around: Surroundings,
    *,
    only: Generation | None = None,
) -> Injection | Refusal:
    """Return what a pod of this service account is given, or why it is given nothing.

    `association_id` is None where there is no association. `only` leaves one generation to choose from.
    Reasons: ``no-association``, ``no-annotation``, ``neither``. Raises `BadName` for an annotation that cannot
    work: half an injection would fail later, and in silence.
    """
    annotated = irsa.role_annotation(account) is not None
    generation = prefer(association=association_id is not None, annotated=annotated, only=only)
    if generation == "pod-identity":
        return pod_identity.inject(
            association_id or "", around.place, full_uri=around.full_uri, mount_path=around.pod_identity_mount
        )
    if generation == "irsa":
        return irsa.inject(account, around.place, mount_path=around.irsa_mount)
    return _refusal(account, only)


def _refusal(account: ServiceAccountFacts, only: Generation | None) -> Refusal:
    who = f"service account {account.namespace}/{account.name} of cluster {account.cluster}"
    associate = (
        f"rolecall association create --cluster {account.cluster} -n {account.namespace} -s {account.name}"
        " --role-arn ARN"
    )
    annotate = (
        f"rolecall serviceaccount annotate --cluster {account.cluster} -n {account.namespace} -s {account.name}"
        " --role-arn ARN"
    )
    if only == "pod-identity":
        return Refusal("no-association", f"{who} has no association", f"create one: {associate}")
    if only == "irsa":
        return Refusal("no-annotation", f"{who} has no {irsa.PREFIX}/role-arn annotation", f"add one: {annotate}")
    return Refusal(
        "neither",
        f"{who} has no role: it has neither an association nor an {irsa.PREFIX}/role-arn annotation",
        f"for Pod Identity: {associate}\n  for IRSA: {annotate}\n  to run it without one all the same: --without-role",
    )

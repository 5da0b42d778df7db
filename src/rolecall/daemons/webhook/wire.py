"""Admission's wire shapes: AdmissionReview (admission.k8s.io v1 and v1beta1), and what is read of a pod.

Only fields that decide something are decoded: whatever else a pod holds is skipped unread, and is never written. All of
them are of the stable API v1, so their types cannot change. ``null`` is as good as absent, as in the API server.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """An object's names, labels and annotations."""

    name: str | None = None
    generate_name: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class EnvVar(msgspec.Struct, rename="camel", gc=False):
    """A variable; `value_from` is only looked at for being there."""

    name: str = ""
    value: str | None = None
    value_from: dict[str, Any] | None = None


class Mount(msgspec.Struct, rename="camel", gc=False):
    """A volume mount."""

    name: str = ""
    mount_path: str = ""


class Container(msgspec.Struct, rename="camel", gc=False):
    """A container or init container."""

    name: str = ""
    env: list[EnvVar] | None = None
    volume_mounts: list[Mount] | None = None


class TokenSource(msgspec.Struct, rename="camel", gc=False):
    """A projected service-account token."""

    audience: str = ""
    path: str = ""


class VolumeSource(msgspec.Struct, rename="camel", gc=False):
    """One source of a projected volume."""

    service_account_token: TokenSource | None = None


class Projected(msgspec.Struct, gc=False):
    """A projected volume."""

    sources: list[VolumeSource] | None = None


class Volume(msgspec.Struct, gc=False):
    """A volume: its name, and its sources where it is a projected one."""

    name: str = ""
    projected: Projected | None = None


class Requirement(msgspec.Struct, gc=False):
    """A node selector requirement."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class Term(msgspec.Struct, rename="camel", gc=False):
    """A node selector term: its requirements are and-ed, terms are or-ed."""

    match_expressions: list[Requirement] | None = None


class NodeSelector(msgspec.Struct, rename="camel", gc=False):
    """A node selector."""

    node_selector_terms: list[Term] | None = None


class NodeAffinity(msgspec.Struct, rename="camel", gc=False):
    """What nodes a pod must have."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class Affinity(msgspec.Struct, rename="camel", gc=False):
    """A pod's affinity, to nodes."""

    node_affinity: NodeAffinity | None = None


class PodOs(msgspec.Struct, gc=False):
    """``spec.os``."""

    name: str = ""


class SecurityContext(msgspec.Struct, rename="camel", gc=False):
    """The pod's security context."""

    fs_group: int | None = None


class Spec(msgspec.Struct, rename="camel", gc=False):
    """A pod's spec."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    volumes: list[Volume] | None = None
    service_account_name: str | None = None
    service_account: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    os: PodOs | None = None
    scheduler_name: str | None = None
    host_network: bool | None = None
    security_context: SecurityContext | None = None


class Pod(msgspec.Struct, gc=False):
    """A pod, or a pod template."""

    metadata: Metadata
    spec: Spec


class Kind(msgspec.Struct, gc=False):
    """A GroupVersionKind, without what is not asked."""

    group: str = ""
    kind: str = ""


class Request(msgspec.Struct, rename="camel", gc=False):
    """An AdmissionRequest, but for its object."""

    uid: str
    kind: Kind
    operation: str = ""
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""


class AnyRequest(Request, gc=False):
    """One for whatever object; ``null`` where it has none."""

    object: msgspec.Raw = msgspec.Raw(b"null")


class PodRequest(Request, gc=False, kw_only=True):
    """One for a pod."""

    object: Pod


class AnyReview(msgspec.Struct, rename="camel", gc=False):
    """An AdmissionReview that asks."""

    request: AnyRequest
    api_version: str = ""
    kind: str = ""


class PodReview(msgspec.Struct, rename="camel", gc=False):
    """One about a pod: what nearly all are, read in one go."""

    request: PodRequest
    api_version: str = ""
    kind: str = ""


class Status(msgspec.Struct):
    """Why a request is denied (meta/v1 Status)."""

    message: str
    reason: str
    code: int


class Response(msgspec.Struct, rename="camel", omit_defaults=True):
    """An AdmissionResponse; `patch` becomes base64."""

    uid: str
    allowed: bool
    status: Status | None = None
    patch: bytes | None = None
    patch_type: str | None = None
    audit_annotations: dict[str, str] | None = None
    warnings: list[str] | None = None


class ReviewAnswer(msgspec.Struct, rename="camel"):
    """An AdmissionReview that answers."""

    api_version: str
    kind: str
    response: Response

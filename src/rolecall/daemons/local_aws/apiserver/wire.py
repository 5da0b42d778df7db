"""Messages of ``/_rolecall/v1``: what ``rolecall run`` and its siblings ask of the plane.

All are JSON; times are seconds since the epoch. Signed with SigV4, service ``rolecall``, admin key only.

=======  ==============================================================  ==============  ================
method   path (below ``/_rolecall/v1``)                                  request         answer
=======  ==============================================================  ==============  ================
GET      ``/clusters``                                                   --              `ClusterList`
GET      ``/clusters/{cluster}/serviceaccounts``                         --              `AccountList`
GET      ``/clusters/{cluster}/serviceaccounts/{namespace}/{name}``      --              `Account`
PUT      ``/clusters/{cluster}/serviceaccounts/{namespace}/{name}``      `Annotations`   `Account`
GET      ``/clusters/{cluster}/namespaces``                                --              `NamespaceList`
PUT      ``/clusters/{cluster}/namespaces/{name}``                         `Annotations`   `NamespaceFacts`
POST     ``/clusters/{cluster}/pods``                                    `NewPod`        `Pod`
GET      ``/clusters/{cluster}/pods``                                    --              `PodList`
POST     ``/clusters/{cluster}/pods/{uid}/heartbeat``                    --              `Pod`
DELETE   ``/clusters/{cluster}/pods/{uid}``                              --              `Pod`
POST     ``/clusters/{cluster}/tokens``                                  `NewToken`      `Token`
GET      ``/sessions/{access key id}``                                   --              `Session`
=======  ==============================================================  ==============  ================

An error answers `Fault` with its HTTP status and the code in ``x-amzn-ErrorType``.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from rolecall.errors import ServiceError

PREFIX = "/_rolecall/v1"
SERVICE = "rolecall"


class Association(msgspec.Struct, frozen=True, rename="camel"):
    """A Pod Identity association of a service account, as far as a pod cares."""

    association_id: str
    association_arn: str
    role_arn: str
    target_role_arn: str | None = None


class Cluster(msgspec.Struct, frozen=True):
    """A cluster and the issuer of its tokens."""

    name: str
    arn: str
    issuer: str
    region: str


class ClusterList(msgspec.Struct, frozen=True):
    """All clusters, by name."""

    clusters: tuple[Cluster, ...]


class Account(msgspec.Struct, frozen=True):
    """A service account. One that nobody annotated still answers, with no annotations."""

    cluster: str
    namespace: str
    name: str
    uid: str
    annotations: dict[str, str]
    association: Association | None = None


class AccountList(msgspec.Struct, frozen=True):
    """Service accounts that were annotated, associated or ran a pod."""

    accounts: tuple[Account, ...]


class Annotations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Annotations to set; a null value removes one. Others stay as they are."""

    annotations: dict[str, str | None]


class NamespaceFacts(msgspec.Struct, frozen=True):
    """A namespace. One that nobody annotated is there, with no annotations."""

    cluster: str
    name: str
    annotations: dict[str, str]


class NamespaceList(msgspec.Struct, frozen=True):
    """The namespaces that have annotations, by name."""

    namespaces: tuple[NamespaceFacts, ...]


Proxy = Literal["kube2iam", "kiam", "metadataproxy"]


class NewPod(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Register a pod of a service account; it lives until it is deleted or its heartbeat stops.

    With `proxy`, it is given a metadata service of its own, by which this proxy knows it: by the pod's annotations,
    or by its container's environment (of which only what the proxy reads belongs here).
    """

    namespace: str
    service_account: str
    proxy: Proxy | None = None
    annotations: dict[str, str] = {}
    environment: dict[str, str] = {}


class Pod(msgspec.Struct, frozen=True, rename="camel"):
    """A registered pod. Send a heartbeat well before `heartbeat_by`; `metadata_url` is its own metadata service's."""

    cluster: str
    namespace: str
    service_account: str
    name: str
    uid: str
    node: str
    running: bool
    heartbeat_by: float
    metadata_url: str | None = None


class PodList(msgspec.Struct, frozen=True):
    """Pods that are running."""

    pods: tuple[Pod, ...]


class NewToken(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Ask for a service-account token, bound to a pod where `pod_uid` names a running one.

    `expiration_seconds` is at least 600, as the TokenRequest API has it; the token may live shorter
    where the plane was started with --max-token-seconds.
    """

    namespace: str
    service_account: str
    audience: str
    expiration_seconds: int = 3600
    pod_uid: str | None = None


class Token(msgspec.Struct, frozen=True, rename="camel"):
    """A token, when it was issued and when it expires. Rotate it at 80 % of its life."""

    token: str
    issued_at: float
    expires_at: float

    def __repr__(self) -> str:
        return f"Token(…, expires_at={self.expires_at})"


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """A role session: who it is and what it carries. Its secret is not told again."""

    access_key_id: str
    arn: str
    issued_at: float
    expires_at: float
    tags: dict[str, str]
    transitive_tag_keys: tuple[str, ...]
    source_identity: str | None = None


class Fault(msgspec.Struct, frozen=True):
    """An error: its code and what to do about it."""

    code: str
    message: str


Message = TypeVar("Message", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    """Return the JSON of a message."""
    return msgspec.json.encode(message)


def decode(body: bytes, kind: type[Message]) -> Message:
    """Return the message in `body`; raises `ServiceError` 400 that names the field at fault."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as fault:
        raise ServiceError("InvalidParameterException", f"{kind.__name__}: {fault}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ServiceError("InvalidRequestException", "the body is not JSON") from None

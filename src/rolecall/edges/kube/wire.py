"""What the API server says, as far as it is read here: lists, events and errors (Kubernetes API conventions).

Only the fields that are named are decoded; the rest of a document costs a scan and no memory. msgspec raises for
what is not the document it should be, and `Decoder` makes that an `Upstream`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from rolecall.errors import Misconfigured, Upstream

Document = TypeVar("Document")
Object = TypeVar("Object", bound="HasMeta")


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """An object's metadata. `deletion_timestamp` is there once its deletion has begun."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None


class HasMeta(msgspec.Struct, frozen=True):
    """Any object: what every document of the API server has. Subclasses name what else they read."""

    metadata: Meta = Meta()


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """A list's metadata; `continue_` leads to its next page."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[Object], frozen=True):
    """One page of a list. An empty one may say null."""

    metadata: ListMeta = ListMeta()
    items: list[Object] | None = None


class Event(msgspec.Struct, frozen=True):
    """A line of a watch; what its object is depends on its type."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


class Status(msgspec.Struct, frozen=True):
    """An error (meta/v1, Status)."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None


class Decoder(Generic[Document]):
    """Reads one kind of document; made once and used for each."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.json.Decoder[Document] = msgspec.json.Decoder(kind)

    def __call__(self, document: bytes | bytearray | msgspec.Raw) -> Document:
        """Return the document; raises `Upstream` for what is none of its kind, without showing it."""
        try:
            return self._decoder.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            what = type(fault).__name__
        raise Upstream(f"the API server's answer cannot be read ({what})")


_STATUS = Decoder[Status](Status)


def status_of(body: bytes | bytearray | msgspec.Raw) -> Status:
    """Return what an error says; nothing where it is no Status, as a proxy's page is none."""
    try:
        return _STATUS(body)
    except Upstream:
        return Status()


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Where a pod runs and as whom, and whether the node's network is its own."""

    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False


class PodIp(msgspec.Struct, frozen=True):
    """One of a pod's addresses."""

    ip: str = ""


class PodStatus(msgspec.Struct, frozen=True, rename={"pod_ips": "podIPs"}):
    """How far a pod is; a dual-stack one has two addresses."""

    phase: str = ""
    pod_ips: list[PodIp] | None = None


class Pod(HasMeta, frozen=True):
    """A pod, as far as its address goes."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ConfigMap(HasMeta, frozen=True):
    """A ConfigMap; null is as good as no data."""

    data: dict[str, str] | None = None


_POD = Decoder[Pod](Pod)


def pod_of(body: bytes | bytearray) -> Pod:
    """Return the pod in an answer."""
    return _POD(body)


class NamedCluster(msgspec.Struct, frozen=True):
    """A cluster of a kubeconfig."""

    name: str
    cluster: dict[str, Any] = {}


class NamedUser(msgspec.Struct, frozen=True):
    """A user of a kubeconfig."""

    name: str
    user: dict[str, Any] | None = None


class NamedContext(msgspec.Struct, frozen=True):
    """A context of a kubeconfig."""

    name: str
    context: dict[str, Any] = {}


class KubeConfigFile(msgspec.Struct, frozen=True):
    """A kubeconfig (client-go, clientcmd/api/v1)."""

    clusters: list[NamedCluster] | None = None
    users: list[NamedUser] | None = None
    contexts: list[NamedContext] | None = None
    current_context: str = msgspec.field(name="current-context", default="")


def kubeconfig_of(text: bytes, where: str) -> KubeConfigFile:
    """Return a kubeconfig, written as JSON or YAML; raises `Misconfigured` for anything else, without showing it."""
    try:
        return msgspec.json.decode(text, type=KubeConfigFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    import yaml  # here: in a cluster none is read

    try:
        return msgspec.convert(yaml.safe_load(text), KubeConfigFile)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError, RecursionError, ValueError) as fault:
        what = type(fault).__name__
    raise Misconfigured(f"{where} is no kubeconfig ({what})", hint="see: kubectl config view --kubeconfig FILE")


def as_json(value: Mapping[str, Any] | list[Any]) -> bytes:
    """Return a body."""
    return msgspec.json.encode(value)

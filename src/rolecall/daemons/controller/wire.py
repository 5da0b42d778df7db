"""The objects that the controller reads and writes at the API server, as JSON."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from rolecall.edges.kube.wire import Decoder, HasMeta, Meta
from rolecall.mechanisms.metadata_proxy.secret_files import (
    API_VERSION,
    GENERATION,
    INI,
    JSON,
    KIND,
    LABELS,
    PROCESS,
    ROLE_ARN,
    Files,
    Held,
    Resource,
    moment,
)

ROLES = "/apis/zalando.org/v1/{}awsiamroles"
SECRETS = "/api/v1/{}secrets"
EVENTS = "/api/v1/{}events"
NAMESPACES = "/api/v1/namespaces"
SELECTOR = ",".join(f"{name}={value}" for name, value in LABELS.items())
LONGEST_MESSAGE = 1024
"""Characters of an Event's or a condition's message: what the API server takes of an Event's."""


def path(kind: str, namespace: str, name: str = "", sub: str = "") -> str:
    """Return the path of a kind's objects, of one, or of one's subresource; in all namespaces for none."""
    found = kind.format(f"namespaces/{namespace}/" if namespace else "")
    return found + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")


# --- what is read ------------------------------------------------------------------------------------------


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    role_reference: str = ""
    role_session_duration: int = 0


class _Condition(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""


class _Status(msgspec.Struct, frozen=True, rename={"observed_generation": "observedGeneration", "role_arn": "roleARN"}):
    observed_generation: int | None = None
    role_arn: str = ""
    expiration: str = ""
    conditions: list[_Condition] | None = None


class _RoleMeta(Meta, frozen=True, rename="camel"):
    generation: int = 0
    labels: dict[str, str] | None = None


class RoleForm(HasMeta, frozen=True):
    """An AWSIAMRole."""

    metadata: _RoleMeta = _RoleMeta()
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Owner(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""


class _SecretMeta(Meta, frozen=True, rename="camel"):
    labels: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None


class _Data(
    msgspec.Struct,
    frozen=True,
    rename={"role_arn": ROLE_ARN, "generation": GENERATION, "process": PROCESS, "document": JSON, "ini": INI},
):
    role_arn: str = ""
    expire: str = ""
    generation: str = ""
    process: str = ""
    document: str = ""
    ini: str = ""


class SecretForm(HasMeta, frozen=True):
    """A Secret; what it holds is looked at while it is read, and let go."""

    metadata: _SecretMeta = _SecretMeta()
    data: _Data | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What an AWSIAMRole's status says, or is to say. `reason` and `message` are of its condition Ready; `since` is
    when that last changed (RFC 3339)."""

    generation: int | None = None
    role_arn: str = ""
    expiration: str = ""
    ready: bool = False
    reason: str = ""
    message: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """An AWSIAMRole as it was read: what it asks for, and what its status says."""

    resource: Resource
    state: State

    @property
    def key(self) -> tuple[str, str]:
        """Its namespace and name."""
        return self.resource.namespace, self.resource.name


def seen_of(form: RoleForm) -> Seen:
    """Return what is kept of an AWSIAMRole."""
    meta, status = form.metadata, form.status
    ready = next((one for one in status.conditions or () if one.type == "Ready"), _Condition())
    resource = Resource(
        meta.namespace,
        meta.name,
        meta.uid,
        meta.generation,
        form.spec.role_reference,
        form.spec.role_session_duration,
        dict(meta.labels or {}),
        meta.deletion_timestamp is not None,
    )
    said = (ready.status == "True", ready.reason, ready.message, ready.last_transition_time)
    return Seen(resource, State(status.observed_generation, status.role_arn, status.expiration, *said))


def held_of(form: SecretForm) -> Held:
    """Return what is kept of a Secret, which is nothing secret."""
    meta, data = form.metadata, form.data or _Data()
    labels = meta.labels or {}
    ours = all(labels.get(name) == value for name, value in LABELS.items())
    owners = [one for one in meta.owner_references or () if (one.api_version, one.kind) == (API_VERSION, KIND)]
    generation = _text(data.generation)
    return Held(
        meta.namespace,
        meta.name,
        meta.uid,
        meta.resource_version,
        frozenset(one.uid for one in owners if one.name == meta.name and ours),
        _text(data.role_arn),
        _seconds(_text(data.expire)),
        int(generation) if generation.isascii() and generation.isdecimal() and len(generation) < 19 else None,
        all((data.process, data.document, data.ini)),
    )


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return ""


def _seconds(text: str) -> float | None:
    try:
        found = datetime.fromisoformat(text)
        return found.timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


_ROLE, _SECRET = Decoder[RoleForm](RoleForm), Decoder[SecretForm](SecretForm)
_META = Decoder[HasMeta](HasMeta)


def read_role(body: bytes | bytearray) -> Seen:
    """Return the AWSIAMRole in an answer; raises `Upstream`."""
    return seen_of(_ROLE(body))


def read_secret(body: bytes | bytearray) -> Held:
    """Return the Secret in an answer; raises `Upstream`."""
    return held_of(_SECRET(body))


def name_of(body: bytes | bytearray) -> str:
    """Return the name of the object in an answer; raises `Upstream`."""
    return _META(body).metadata.name


# --- what is written ---------------------------------------------------------------------------------------


def new_secret(resource: Resource, files: Files) -> bytes:
    """Return a Secret of an AWSIAMRole, which owns it."""
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": resource.name, "uid": resource.uid}
    meta = {"name": resource.name, "namespace": resource.namespace, "labels": {**resource.labels, **LABELS}}
    body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": _encoded(files)}
    return msgspec.json.encode({**body, "metadata": {**meta, "ownerReferences": [owner]}})


def changed_secret(resource: Resource, held: Held, files: Files) -> bytes:
    """Return the JSON Patch with new files; the API server says 409 where the Secret is not as we saw it."""
    return msgspec.json.encode(
        [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": held.version},
            {"op": "replace", "path": "/metadata/labels", "value": {**resource.labels, **LABELS}},
            {"op": "add", "path": "/data", "value": _encoded(files)},
        ]
    )


def only_if(held: Held) -> bytes:
    """Return the options of a deletion that is of this very Secret."""
    return msgspec.json.encode({"preconditions": {"uid": held.uid, "resourceVersion": held.version}})


def _encoded(files: Files) -> dict[str, str]:
    texts = {name: text if isinstance(text, str) else text.reveal() for name, text in files.items()}
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def new_status(resource: Resource, state: State) -> bytes:
    """Return the merge patch of an AWSIAMRole's status; the API server says 409 where it is another's by now."""
    condition = {
        "type": "Ready",
        "status": "True" if state.ready else "False",
        "reason": state.reason,
        "message": state.message[:LONGEST_MESSAGE],
        "observedGeneration": resource.generation,
        "lastTransitionTime": state.since,
    }
    status = {
        "observedGeneration": state.generation,
        "roleARN": state.role_arn or None,
        "expiration": state.expiration or None,
        "conditions": [condition],
    }
    return msgspec.json.encode({"metadata": {"uid": resource.uid}, "status": status})


@dataclass(frozen=True, slots=True)
class Told:
    """An Event about an AWSIAMRole: Normal, or else a Warning."""

    resource: Resource
    reason: str
    message: str
    normal: bool = False


def new_event(told: Told, suffix: str, instance: str, now: float) -> bytes:
    """Return a new Event (core/v1); `suffix` makes its name one of its own."""
    about, at = told.resource, moment(now)
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:200].rstrip('-.')}.{suffix}", "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION, "kind": KIND, "namespace": about.namespace, "name": about.name, "uid": about.uid,
        },
        "reason": told.reason,
        "message": told.message[:LONGEST_MESSAGE],
        "type": "Normal" if told.normal else "Warning",
        "source": {"component": LABELS["heritage"]},
        "reportingComponent": LABELS["heritage"],
        "reportingInstance": instance[:128],
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }  # fmt: skip
    return msgspec.json.encode(body)


def again(count: int, now: float) -> bytes:
    """Return the merge patch of an Event that has happened again."""
    return msgspec.json.encode({"count": count, "lastTimestamp": moment(now)})

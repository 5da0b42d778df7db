"""The shapes of what the replicas share: a Secret, and the caBundle of the webhooks that are ours."""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rolecall.core.secrets import Secret
from rolecall.daemons.webhook.certificate.plan import Kept
from rolecall.edges.certificates import ServingPair
from rolecall.errors import Upstream

PROMOTED_AT = "rolecall.dev/promoted-at"


class _Secret(msgspec.Struct, omit_defaults=True):
    metadata: dict[str, Any]
    apiVersion: str = msgspec.field(default="v1")  # noqa: N815
    kind: str = "Secret"
    type: str = "kubernetes.io/tls"
    data: dict[str, bytes] | None = None


class _Service(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _ClientConfig(msgspec.Struct, rename="camel"):
    service: _Service | None = None
    url: str | None = None
    ca_bundle: bytes | None = None


class _Webhook(msgspec.Struct, rename="camel"):
    name: str = ""
    client_config: _ClientConfig = msgspec.field(default_factory=_ClientConfig)


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Configuration(msgspec.Struct):
    metadata: _Metadata
    webhooks: list[_Webhook] | None = None


@dataclass(frozen=True, slots=True)
class Shared:
    """A Secret as it was read: what it keeps, None where that cannot be used, and its own metadata and type."""

    kept: Kept | None
    metadata: dict[str, Any]
    type: str


@dataclass(frozen=True, slots=True)
class Entries:
    """The webhooks of a configuration that are ours: index, name, and what is believed of them now."""

    resource_version: str
    ours: tuple[tuple[int, str, str], ...]


def decode_secret(text: bytes | bytearray) -> Shared:
    """Return what a Secret keeps; raises `Upstream` where it is no Secret at all."""
    try:
        found = msgspec.json.decode(text, type=_Secret)
    except (msgspec.DecodeError, UnicodeError):
        raise Upstream("the API server's answer is no Secret") from None
    data = {name: value.decode("utf-8", "replace") for name, value in (found.data or {}).items()}
    shown, annotations = _pair(data, ""), found.metadata.get("annotations") or {}
    try:
        promoted = float(annotations.get(PROMOTED_AT, 0))
    except (TypeError, ValueError):
        promoted = 0.0
    kept = None if shown is None else Kept(shown, _pair(data, "next-"), data.get("former-ca.crt", ""), promoted)
    metadata = {key: value for key, value in found.metadata.items() if key != "managedFields"}
    return Shared(kept, metadata, found.type)


def encode_secret(kept: Kept, namespace: str, name: str, over: Shared | None = None) -> bytes:
    """Return the Secret that keeps this, in the place of one that was read, or a new one."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace} if over is None else dict(over.metadata)
    metadata["annotations"] = {**(metadata.get("annotations") or {}), PROMOTED_AT: str(int(kept.promoted_at))}
    data = _data(kept.shown, "") | ({} if kept.next is None else _data(kept.next, "next-"))
    if kept.former:
        data["former-ca.crt"] = kept.former.encode()
    kind = "kubernetes.io/tls" if over is None else over.type
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": data}
    return msgspec.json.encode(made)


def decode_configuration(text: bytes | bytearray, service: tuple[str, str], names: Collection[str]) -> Entries:
    """Return the webhooks that call this service (namespace, name), or a URL at one of these names."""
    try:
        found = msgspec.json.decode(text, type=_Configuration)
    except (msgspec.DecodeError, UnicodeError):
        raise Upstream("the API server's answer is no MutatingWebhookConfiguration") from None
    ours = []
    for index, webhook in enumerate(found.webhooks or []):
        config = webhook.client_config
        called = (config.service.namespace, config.service.name) if config.service is not None else None
        if called == service or (config.url and urlsplit(config.url).hostname in names):
            ours.append((index, webhook.name, (config.ca_bundle or b"").decode("utf-8", "replace")))
    return Entries(found.metadata.resource_version, tuple(ours))


def encode_bundle_patch(entries: Entries, bundle: str) -> bytes:
    """Return a JSON Patch that has the API server believe these authorities of our webhooks, and changes nothing else.

    It fails where the configuration has changed since it was read.
    """
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": entries.resource_version}
    ]
    for index, name, believed in entries.ours:
        if believed != bundle:
            value = base64.b64encode(bundle.encode()).decode()
            operations.append({"op": "test", "path": f"/webhooks/{index}/name", "value": name})
            operations.append({"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value})
    return msgspec.json.encode(operations)


def _pair(data: dict[str, str], prefix: str) -> ServingPair | None:
    parts = [data.get(f"{prefix}{name}", "") for name in ("ca.crt", "tls.crt", "tls.key")]
    return ServingPair(parts[0], parts[1], Secret(parts[2])) if all(parts) else None


def _data(pair: ServingPair, prefix: str) -> dict[str, bytes]:
    texts = {"ca.crt": pair.authority, "tls.crt": pair.certificate, "tls.key": pair.key.reveal()}
    return {f"{prefix}{name}": text.encode() for name, text in texts.items()}

"""JSON Patch (RFC 6902) out of what is added: small operations on the document as it came.

Nothing that is not named here is touched: fields of newer Kubernetes survive, since they are never read nor written.
"""

from __future__ import annotations

from typing import Any

from rolecall.daemons.webhook.containers import Change
from rolecall.daemons.webhook.decide import Additions
from rolecall.daemons.webhook.rules import ENABLED, POD_IDENTITY_LABEL
from rolecall.daemons.webhook.wire import Pod

Operation = dict[str, Any]


def patch(pod: Pod, additions: Additions) -> list[Operation]:
    """Return the operations; applied to the pod's document they add what is to be added."""
    operations = [*_label(pod, additions), *_volume(pod, additions)]
    for one in additions.containers:
        operations += _container(one, additions)
    return operations + _group(pod, additions)


def add(path: str, value: Any) -> Operation:
    """Return an ``add``."""
    return {"op": "add", "path": path, "value": value}


def _label(pod: Pod, additions: Additions) -> list[Operation]:
    if not additions.label:
        return []
    if pod.metadata.labels is None:
        return [add("/metadata/labels", {POD_IDENTITY_LABEL: ENABLED})]
    return [add("/metadata/labels/" + POD_IDENTITY_LABEL.replace("~", "~0").replace("/", "~1"), ENABLED)]


def _volume(pod: Pod, additions: Additions) -> list[Operation]:
    if not additions.volume:
        return []
    token = additions.injection.token
    source = {"audience": token.audience, "expirationSeconds": token.expiration, "path": token.file}
    volume = {"name": token.volume, "projected": {"sources": [{"serviceAccountToken": source}]}}
    if pod.spec.volumes is None:
        return [add("/spec/volumes", [volume])]
    return [add("/spec/volumes/0", volume)]


def _container(one: Change, additions: Additions) -> list[Operation]:
    operations = [
        {"op": "replace", "path": f"{one.path}/env/{index}/value", "value": value} for index, value in one.longer
    ]
    if variables := env_of(one):
        if one.container.env is None:
            operations.append(add(f"{one.path}/env", variables))
        else:
            operations += [add(f"{one.path}/env/-", variable) for variable in variables]
    if one.mount:
        where, mount = f"{one.path}/volumeMounts", mount_of(additions)
        operations.append(add(where, [mount]) if one.container.volume_mounts is None else add(f"{where}/-", mount))
    return operations


def _group(pod: Pod, additions: Additions) -> list[Operation]:
    if additions.fs_group is None:
        return []
    if pod.spec.security_context is None:
        return [add("/spec/securityContext", {"fsGroup": additions.fs_group})]
    return [add("/spec/securityContext/fsGroup", additions.fs_group)]


def env_of(one: Change) -> list[dict[str, Any]]:
    """Return the variables that a container is given, as the API spells them."""
    plain: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in one.env]
    return plain + [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in one.from_field]


def mount_of(additions: Additions) -> dict[str, Any]:
    """Return the token's mount, as the API spells it."""
    token = additions.injection.token
    return {"name": token.volume, "readOnly": True, "mountPath": token.mount_path}

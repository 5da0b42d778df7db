"""The patches of AWS's webhook, operation by operation: what it emits for tools that compare bytes (``strict``).

It replaces the whole lists of containers, in the order of its Go types, whether anything changed or not. Unlike it, we
keep fields that we do not know.
"""

from __future__ import annotations

from typing import Any

from rolecall.daemons.webhook.decide import Additions
from rolecall.daemons.webhook.patch import Operation, add, env_of, mount_of, patch
from rolecall.daemons.webhook.wire import Pod

# k8s.io/api/core/v1, Container: encoding/json writes a struct's fields in the order of their declaration.
_GO_ORDER = (
    "name", "image", "command", "args", "workingDir", "ports", "envFrom", "env", "resources", "resizePolicy",
    "restartPolicy", "restartPolicyRules", "volumeMounts", "volumeDevices", "livenessProbe", "readinessProbe",
    "startupProbe", "lifecycle", "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy",
    "securityContext", "stdin", "stdinOnce", "tty",
)  # fmt: skip
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_WHOLE = ("/spec/containers", "/spec/initContainers")


def strict_patch(pod: Pod, document: dict[str, Any], additions: Additions) -> list[Operation]:
    """Return AWS's operations for a pod, whose whole document is given: label, volume, then the lists of containers."""
    small = [one for one in patch(pod, additions) if not one["path"].startswith(_WHOLE)]
    changed = {one.path: one for one in additions.containers}
    whole = []
    for where in _WHOLE:
        containers = [dict(container) for container in document["spec"].get(where.rpartition("/")[2]) or ()]
        for index, container in enumerate(containers):
            one = changed.get(f"{where}/{index}")
            if one is None:
                continue
            _lengthen(container, one.longer)
            if variables := env_of(one):
                container["env"] = [*(container.get("env") or ()), *variables]
            if one.mount:
                container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount_of(additions)]
        if containers:
            whole.append(add(where, [_in_go_order(container) for container in containers]))
    last = [one for one in small if one["path"].startswith("/spec/securityContext")]
    return [*(one for one in small if one not in last), *whole, *last]


def _lengthen(container: dict[str, Any], longer: list[tuple[int, str]]) -> None:
    if longer:
        container["env"] = [dict(entry) for entry in container["env"]]
        for index, value in longer:
            container["env"][index]["value"] = value


def _in_go_order(container: dict[str, Any]) -> dict[str, Any]:
    """Return the container as Go writes it: ``resources`` is always there, as is the ``service`` of a gRPC probe."""
    filled = {"resources": {}, **container}
    for name in _PROBES:
        probe = filled.get(name)
        if isinstance(probe, dict) and isinstance(probe.get("grpc"), dict):
            filled[name] = probe | {"grpc": probe["grpc"] | {"service": probe["grpc"].get("service")}}
    known = {name: filled.pop(name) for name in _GO_ORDER if name in filled}
    return known | filled

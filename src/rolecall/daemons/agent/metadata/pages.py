"""The proxies' own pages: what their probes ask at the door; what debuggers ask, at the agent's own port alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.agent.metadata.documents import Documents
from rolecall.daemons.agent.metadata.pods_by_ip import PodsByIp
from rolecall.errors import RolecallError
from rolecall.mechanisms.metadata_proxy import wire
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam

HEALTH, STORE = "/healthz", "/debug/store"
PING, KIAM_HEALTH = "/ping", "/health"


class Healthy(Protocol):
    """A server that says how it is."""

    async def health(self) -> str:
        """Return ``ok``, or what is wrong. Raises `Upstream`."""
        ...


async def health(hosts: tuple[str, ...], documents: Documents) -> Reply:
    """Return that it lives. The instance's id is told where it is known: no restart mends the node's service."""
    try:
        instance = (await documents("meta-data/instance-id") or b"").decode("ascii", "replace")
    except RolecallError:
        instance = ""
    host = next((host for host in hosts if host not in ("0.0.0.0", "::")), "")  # noqa: S104 - they name none
    return wire.kube2iam_health(host, instance)


async def kiam_health(request: Request, documents: Documents, server: Healthy | None) -> Reply:
    """Answer the kubelet as kiam's agent does; who asks is nobody's pod, and learns nothing of one."""
    if request.path == PING:
        return wire.text(200, "pong")
    try:
        if "deep" in request.query and server is not None and (said := await server.health()) != "ok":
            return wire.error(500, f"server health: {said}", "server-health")
        found = await documents("meta-data/instance-id")
    except RolecallError as fault:
        return wire.error(500, f"couldn't read metadata response: {fault.message}", fault.word)
    return wire.text(200, (found or b"").decode("utf-8", "replace"))


def store(rules: Kube2iam, pods: PodsByIp) -> Reply:
    """Return what is known of pods and namespaces, in kube2iam's form."""
    namespaces, roles = dict[str, str](), dict[str, str]()
    for here in pods.pods.values():
        for address in () if here.pod.host_network else here.addresses:
            namespaces[address] = here.pod.namespace
            roles[address] = here.annotations.get(rules.role_key, "")
    return wire.kube2iam_store(namespaces, roles, _permitted(rules, pods.namespaces.by_name))


def _permitted(rules: Kube2iam, namespaces: Mapping[str, Mapping[str, str]]) -> Mapping[str, tuple[str, ...]]:
    key = rules.namespace_key
    return {name: wire.pattern_list(found[key]) for name, found in namespaces.items() if key in found}

"""The pods of this node, by uid and by address, as a watch fills them in."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rolecall.edges.kube.wire import Pod


@dataclass(frozen=True, slots=True)
class NodePod:
    """A pod as far as its address goes. One that has ended has no addresses: they may be another's by now."""

    uid: str
    node: str
    addresses: tuple[str, ...]
    host_network: bool
    ended: bool


def kept(pod: Pod) -> NodePod:
    """Return what is kept of a pod."""
    ended = pod.status.phase in ("Succeeded", "Failed")
    found = () if ended else tuple(plain_address(one.ip) for one in pod.status.pod_ips or ())
    return NodePod(pod.metadata.uid, pod.spec.node_name, found, pod.spec.host_network, ended)


def plain_address(text: str) -> str:
    """Return an address in its one spelling: without a zone, and an IPv4 address as such."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)


class Pods:
    """Filled by a watch. `lost` is told the uid of a pod that ended, that lost an address, or that has to share one."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._lost = lost
        self._pods: dict[str, NodePod] = {}
        self._owners: dict[str, frozenset[str]] = {}
        self.changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, uid: str) -> NodePod | None:
        """Return a pod."""
        return self._pods.get(uid)

    def owners(self, address: str) -> frozenset[str]:
        """Return the uids of the pods that have this address to themselves."""
        return self._owners.get(address, frozenset())

    def is_nodes(self, address: str) -> bool:
        """Whether a pod in the node's network says that this address is the node's."""
        return any(pod.host_network and address in pod.addresses for pod in self._pods.values())

    def replace(self, objects: Sequence[NodePod]) -> None:
        """Hold exactly these."""
        for uid in self._pods.keys() - {pod.uid for pod in objects}:
            self._remove(uid)
        for pod in objects:
            self.put(pod)

    def put(self, found: NodePod) -> None:
        """Hold this pod as it is now."""
        before = self._pods.get(found.uid)
        if before is not None:
            self._give_up(before)
        if found.ended or (before is not None and not set(before.addresses) <= set(found.addresses)):
            self._lost(found.uid)
        self._pods[found.uid] = found
        for address in () if found.host_network else found.addresses:
            owners = self._owners[address] = self.owners(address) | {found.uid}
            for uid in owners if len(owners) > 1 else ():
                self._lost(uid)
        self._tell()

    def drop(self, found: NodePod) -> None:
        """Hold this pod no longer."""
        self._remove(found.uid)

    def _remove(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._give_up(pod)
        self._lost(uid)
        self._tell()

    def _give_up(self, pod: NodePod) -> None:
        for address in pod.addresses:
            rest = self.owners(address) - {pod.uid}
            if rest:
                self._owners[address] = rest
            else:
                self._owners.pop(address, None)

    def _tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

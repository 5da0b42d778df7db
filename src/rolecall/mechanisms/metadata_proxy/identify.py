"""Who is asking: whoever runs at the address that the question came from.

Only a running pod or container of this node with a network of its own has an address that is its own. Two at one
address are nobody: a role is given to neither (requirement R-9).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TypeVar

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.grant import Refusal
from rolecall.core.records import ContainerFacts, PodFacts

Found = TypeVar("Found", PodFacts, ContainerFacts)


def address_of(peer: str) -> str:
    """Return the address of a peer in its one spelling, without port and brackets; nothing where it is none."""
    text = peer
    if peer.startswith("["):
        text = peer[1:].partition("]")[0]
    elif peer.count(":") == 1:
        text = peer.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(found, "ipv4_mapped", None)  # how an IPv4 client looks at a socket of both families
    return str(mapped or found)


def pod_at(address: str, pods: Iterable[PodFacts], *, node: str | None = None) -> AtPodIp | Refusal:
    """Return the pod at an address out of those that are known there; with `node`, only a pod of that node.

    Refusals: ``no-pod``, ``host-network``, ``shared-address``; `because` has the names of those that share it.
    """
    here = [pod for pod in pods if pod.ip == address and (node is None or pod.node == node)]
    found = _only_one(address, here, "pod")
    return found if isinstance(found, Refusal) else AtPodIp(address, found)


def container_at(address: str, containers: Iterable[ContainerFacts]) -> AtContainerIp | Refusal:
    """Return the container at an address out of those that are known there; the refusals are those of `pod_at`."""
    here = [one for one in containers if address in one.addresses]
    found = _only_one(address, here, "container")
    return found if isinstance(found, Refusal) else AtContainerIp(address, found)


def _only_one(address: str, here: list[Found], what: str) -> Found | Refusal:
    alive = [one for one in here if one.running and not one.host_network]
    if len(alive) == 1:
        return alive[0]
    if alive:
        names = sorted(one.name for one in alive)
        shared = f"{len(names)} {what}s have the address {address}: nobody can tell which of them asks"
        return Refusal("shared-address", shared, because=tuple(names))
    if any(one.running for one in here):
        return Refusal("host-network", f"whoever asks from {address} is on the host's network: it has no address")
    return Refusal("no-pod" if what == "pod" else "no-container", f"no running {what} has the address {address}")

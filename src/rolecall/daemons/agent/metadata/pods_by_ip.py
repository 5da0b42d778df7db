"""Who asks, by a watch of the node's pods: the one running pod that has the address to itself.

- A pod that has ended, or whose deletion has begun, has no address: it may be another's by now (R-9).
- Whoever is not known yet is waited for (`HOLD`): a pod is often quicker than the event that tells of it (R-4). So is
  an end of sharing: the event of an older pod's end may come after that of the new one's beginning.
- What was found is kept until the pod, a neighbour at its address, or its namespace changes, and no longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from rolecall.core.grant import Refusal
from rolecall.core.names import ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import PodFacts
from rolecall.daemons.agent.metadata.whose import HOLD
from rolecall.daemons.agent.pods import plain_address
from rolecall.edges.clock import Clock, within
from rolecall.edges.kube.wire import HasMeta, Pod
from rolecall.errors import BadName
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.identify import address_of, pod_at

_NOBODYS = ClusterName.parse("here")


@dataclass(frozen=True, slots=True)
class PodHere:
    """What is kept of a pod. One without addresses can ask for nothing; `annotations` are those that are read."""

    pod: PodFacts
    addresses: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamespaceHere:
    """What is kept of a namespace."""

    name: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def keeping_pods(keys: Collection[str], cluster: ClusterName | None) -> Callable[[Pod], PodHere]:
    """Return what takes from a pod what is kept of it."""

    def kept(pod: Pod) -> PodHere:
        meta = pod.metadata
        running = pod.status.phase not in ("Succeeded", "Failed") and meta.deletion_timestamp is None
        told = dict.fromkeys(plain_address(one.ip) for one in pod.status.pod_ips or () if one.ip)
        addresses = tuple(told) if running else ()
        try:
            namespace = Namespace.parse(meta.namespace)
            account = ServiceAccountName.parse(pod.spec.service_account_name or "default")
        except BadName:  # the API server has no such names; one that had is not to be reckoned with
            namespace, account, addresses = Namespace.parse("default"), ServiceAccountName.parse("default"), ()
        facts = PodFacts(
            cluster or _NOBODYS, namespace, meta.name, meta.uid, account, pod.spec.node_name,
            host_network=pod.spec.host_network, running=running,
        )  # fmt: skip
        return PodHere(facts, addresses, _only(keys, meta.annotations))

    return kept


def keeping_namespaces(keys: Collection[str]) -> Callable[[HasMeta], NamespaceHere]:
    """Return what takes from a namespace what is kept of it."""
    return lambda found: NamespaceHere(found.metadata.name, _only(keys, found.metadata.annotations))


def _only(keys: Collection[str], annotations: Mapping[str, str] | None) -> Mapping[str, str]:
    return {key: text for key, text in (annotations or {}).items() if key in keys}


class Namespaces:
    """The namespaces' annotations, as a watch fills them in. `changed` is told of every change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.by_name: dict[str, Mapping[str, str]] = {}

    def replace(self, objects: Sequence[NamespaceHere]) -> None:
        """Hold exactly these."""
        self.by_name = {found.name: found.annotations for found in objects}
        self._changed()

    def put(self, found: NamespaceHere) -> None:
        """Hold this one as it is now."""
        if self.by_name.get(found.name) != found.annotations:
            self.by_name[found.name] = found.annotations
            self._changed()

    def drop(self, found: NamespaceHere) -> None:
        """Hold this one no longer."""
        self.by_name.pop(found.name, None)
        self._changed()


class PodsByIp:
    """Says which pod asks; filled by a watch. `lost` is told the uid of a pod that is not what it was, or is gone.

    `come`, which may be set, is told the address of a pod that is new there or has changed. `needs_namespace`: a pod
    whose namespace is not known yet is waited for as well; so is any while `namespaces_coming`, for its namespace may
    require tokens. `held` counts the waits, `late` those that nobody came in.
    """

    def __init__(self, clock: Clock, lost: Callable[[str], None], *, needs_namespace: bool = False) -> None:
        self._clock, self._lost, self.needs_namespace = clock, lost, needs_namespace
        self.namespaces = Namespaces(self._namespaces_changed)
        self.pods: dict[str, PodHere] = {}
        self._at: dict[str, dict[str, PodFacts]] = {}
        self._found: dict[str, Facts | Refusal] = {}
        self._waiting: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self.held = self.late = 0
        self.come: Callable[[str], None] | None = None
        self.namespaces_coming: Callable[[], bool] = lambda: False

    def known(self, peer: str) -> Facts | Refusal | None:
        """Return who asks from there; None where nobody is known, or more than one, and that may change."""
        return self._found.get(peer) or self._look(address_of(peer))

    async def facts(self, peer: str) -> Facts | Refusal:
        """Return the same, having waited for it. Refusals: those of `pod_at`."""
        address = address_of(peer)
        end = self._clock.monotonic() + HOLD
        self.held += 1
        while (found := self._look(address)) is None:
            left = end - self._clock.monotonic()
            event = self._waiting.get(address) or self._waiting.setdefault(address, asyncio.Event())
            try:
                await within(self._clock, left, event.wait())
            except TimeoutError:
                self.late += 1
                return self._judge(address)
        return found

    def _look(self, address: str) -> Facts | Refusal | None:
        found = self._found.get(address)
        if found is not None or address not in self._at:
            return found
        found = self._judge(address)
        if isinstance(found, Refusal):
            return found if found.reason == "host-network" else None
        if found.namespace is None and (self.needs_namespace or self.namespaces_coming()):
            return None
        self._found[address] = found
        return found

    def _judge(self, address: str) -> Facts | Refusal:
        caller = pod_at(address, self._at.get(address, {}).values())
        if isinstance(caller, Refusal):
            return caller
        annotations = self.pods[caller.pod.uid].annotations
        return Facts(caller, annotations, self.namespaces.by_name.get(caller.pod.namespace))

    # --- what the watch calls ---

    def replace(self, objects: Sequence[PodHere]) -> None:
        """Hold exactly these."""
        for uid in self.pods.keys() - {one.pod.uid for one in objects}:
            self._remove(uid)
        for one in objects:
            self.put(one)

    def put(self, found: PodHere) -> None:
        """Hold this pod as it is now."""
        uid = found.pod.uid
        before = self.pods.get(uid)
        if before == found:
            return
        if before is not None:
            self._give_up(before)
        self.pods[uid] = found
        for address in found.addresses:
            self._at.setdefault(address, {})[uid] = replace(found.pod, ip=address)
            self._wake(address)
        if before is not None and (before.addresses, before.annotations) != (found.addresses, found.annotations):
            self._lost(uid)
        if self.come is not None and found.addresses and not found.pod.host_network:
            self.come(found.addresses[0])

    def drop(self, found: PodHere) -> None:
        """Hold this pod no longer."""
        self._remove(found.pod.uid)

    def _remove(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            self._give_up(pod)
            self._lost(uid)

    def _give_up(self, gone: PodHere) -> None:
        for address in gone.addresses:
            here = self._at[address]
            here.pop(gone.pod.uid, None)
            if not here:
                del self._at[address]
            self._wake(address)

    def _wake(self, address: str) -> None:
        self._found.pop(address, None)
        event = self._waiting.pop(address, None)
        if event is not None:
            event.set()

    def _namespaces_changed(self) -> None:
        self._found.clear()
        for address in list(self._waiting):
            self._wake(address)

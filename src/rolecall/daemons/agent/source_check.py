"""Whether a token comes from its own pod: the address that asks against the pod that the token names.

The pod is what the token says of itself, unbelieved: a token that says otherwise than its signer wrote is refused by
upstream. What passed is answered from known bytes afterwards, at no cost: those are kept with who sent them, and are
forgotten with the pod's credentials as soon as the pod ends, loses an address, or has to share one.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Collection
from typing import Protocol

from rolecall.core.exchange import Request
from rolecall.core.names import Namespace
from rolecall.core.source import Ask, Issued
from rolecall.daemons.agent.config import AgentConfig
from rolecall.daemons.agent.pods import NodePod, Pods, kept, plain_address
from rolecall.daemons.serving import Learn
from rolecall.edges import entropy
from rolecall.edges.cache import CredentialCache
from rolecall.edges.clock import Clock, within
from rolecall.edges.flights import Key, key_of
from rolecall.edges.kube.client import KubeClient
from rolecall.edges.kube.config import api_server
from rolecall.edges.kube.watch import Watch, Watched
from rolecall.edges.kube.wire import Pod, pod_of
from rolecall.edges.limits import TokenBucket
from rolecall.edges.sockets import is_loopback
from rolecall.edges.telemetry import Log
from rolecall.errors import BadName, RolecallError, ServiceError
from rolecall.mechanisms.pod_identity import door

PATIENCE = 0.5
"""Seconds that a pod is waited for whose event has not come yet, after it was asked for."""
READ_WITHIN = 1.0
_MOST_PODS, _MOST_KEYS, _MOST_READ = 4096, 16, 256
_LONGEST_NAME = 253
PodName = tuple[str, str, str]
"""Namespace, name and uid."""
_POD_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LATER = frozenset({"unknown-pod", "no-address-yet"})
_WORDS = {
    "no-pod": "the token names no pod",
    "unknown-pod": "the token's pod is not known on this node",
    "ended": "the token's pod has ended",
    "no-address-yet": "the address of the token's pod is not known yet",
    "shared-address": "two pods have the address that asks",
    "not-your-address": "the token belongs to another pod than the one that asks",
}


class Reader(Protocol):
    """Reads one pod from the API server, by namespace and name."""

    async def __call__(self, namespace: str, name: str) -> NodePod: ...


class SourceCheck:
    """Judges who asks, in front of the cache. `refusals` are counted by word, also those that were only warned of."""

    def __init__(
        self,
        cache: CredentialCache,
        read: Reader,
        *,
        node: str,
        enforce: bool,
        own: Collection[str],
        clock: Clock,
        log: Log,
    ) -> None:
        self._cache, self._read, self._node = cache, read, node
        self._enforce, self._own = enforce, frozenset(map(plain_address, own))
        self._clock, self._log = clock, log
        self.pods = Pods(self._forget)
        self.found: dict[str, int] = {}
        self._keys: OrderedDict[str, OrderedDict[Key, None]] = OrderedDict()
        self._read_lately: dict[bytes, PodName] = {}
        self._reads = TokenBucket(rate=10, burst=50, clock=clock)
        self._lines = TokenBucket(rate=1, burst=20, clock=clock)
        self._watch: Watch[Pod, NodePod] | None = None
        self._client: KubeClient | None = None
        self._task: asyncio.Task[None] | None = None

    def watch_with(self, watch: Watch[Pod, NodePod], client: KubeClient) -> None:
        """Take what fills `pods`; it is run from `start` to `close`."""
        self._watch, self._client = watch, client

    def start(self) -> None:
        """Begin watching."""
        if self._watch is not None:
            self._task = asyncio.create_task(self._watch.run(), name="agent.pods")

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            self._client.close()

    @property
    def streaming(self) -> bool:
        """Whether changes of this node's pods are arriving now."""
        return self._watch is not None and self._watch.streaming

    def lives(self, uid: str) -> bool:
        """Whether the pod runs on this node as far as the API server says now; False while it cannot be asked."""
        pod = self.pods.get(uid)
        return pod is not None and not pod.ended and not (self._watch is not None and self._watch.failing)

    def fault(self) -> str:
        """Return what a restart may mend; an empty text where all is well."""
        ended = self._task is not None and self._task.done() and not self._task.cancelled()
        return "the watch of this node's pods has ended" if ended else ""

    def unready(self) -> str:
        """Return why every pod would be refused; an empty text where that is not so."""
        if self._watch is None or not self._enforce or self._watch.listed.is_set():
            return ""
        return f"this node's pods are not known yet{': ' if self._watch.failing else ''}{self._watch.failing}"

    def learning(self, learn: Learn) -> Learn:
        """Return what learns of requests that passed; one that was only warned of is to be seen each time."""

        def learn_if_well(request: Request, ask: Ask, issued: Issued) -> None:
            if not self.judge(self._pod_of(ask)[2], ask.peer):
                learn(request, ask, issued)

        return learn_if_well

    def held(self, ask: Ask) -> Issued | None:
        """Return what the cache holds for whoever may have it at once; all others have to be looked at."""
        uid = self._pod_of(ask)[2]
        if self.judge(uid, ask.peer):
            return None
        self._note(uid, ask)
        return self._cache.held(ask)

    async def __call__(self, ask: Ask) -> Issued:
        """Return credentials; raises `ServiceError` 403 for an address that is not the pod's, 503 for one that is not
        known in time, and whatever the cache raises."""
        namespace, name, uid = self._pod_of(ask)
        word = self.judge(uid, ask.peer)
        if word in _LATER:
            word = await self._look(namespace, name, uid, ask.peer)
        if word:
            self._say(word, ask, namespace, name)
        self._note(uid, ask)
        return await self._cache(ask)

    def judge(self, uid: str, peer: str) -> str:
        """Return why this address may not use a token of that pod, in one word; "" where it may."""
        address, pod = plain_address(peer), self.pods.get(uid)
        owners = self.pods.owners(address)
        if not uid:
            return "no-pod"
        if pod is None:
            return "unknown-pod"
        if pod.ended:
            return "ended"
        if pod.host_network:
            return "" if not owners and self._is_nodes(address) else "not-your-address"
        if owners == {uid}:
            return ""
        if uid in owners:
            return "shared-address"
        if owners or pod.addresses or self._is_nodes(address):
            return "not-your-address"
        return "no-address-yet"

    def _pod_of(self, ask: Ask) -> PodName:
        """Return the pod that a token names, unbelieved. A request is looked at up to three times, its token once."""
        digest = b"" if ask.token is None else ask.token.digest()
        found = self._read_lately.get(digest)
        if found is None:
            if len(self._read_lately) >= _MOST_READ:
                self._read_lately.clear()
            found = self._read_lately[digest] = _pod_of(ask)
        return found

    def _is_nodes(self, address: str) -> bool:
        """Whether it is the node's: what is in the node's own network asks from the door's own address, for one."""
        return address in self._own or self.pods.is_nodes(address) or is_loopback(address)

    async def _look(self, namespace: str, name: str, uid: str, peer: str) -> str:
        """Read the pod once, then wait a moment for its event; return what holds then."""
        if self.pods.get(uid) is None and self._reads.take() and _is_pod(namespace, name):
            try:
                pod = await within(self._clock, READ_WITHIN, self._read(namespace, name))
                if pod.uid == uid and pod.node == self._node and self.pods.get(uid) is None:
                    self.pods.put(pod)
            except (RolecallError, TimeoutError) as error:
                self._log.debug("agent.pod_not_read", why=str(error))
        end = self._clock.monotonic() + PATIENCE
        while (word := self.judge(uid, peer)) in _LATER and (left := end - self._clock.monotonic()) > 0:
            try:
                await within(self._clock, left, self.pods.changed.wait())
            except TimeoutError:
                break
        return word

    def _say(self, word: str, ask: Ask, namespace: str, name: str) -> None:
        self.found[word] = self.found.get(word, 0) + 1
        if not self._enforce:
            if self._lines.take():
                where = {"unverified_namespace": namespace, "unverified_pod": name}
                self._log.warning("agent.source_check", peer=ask.peer, reason=word, why=_WORDS[word], **where)
            return
        late = word in _LATER
        code, status = (word, 503) if late else ("not-your-address", 403)
        raise ServiceError(code, f"Access Denied. {_WORDS[word]}", status=status)

    def _note(self, uid: str, ask: Ask) -> None:
        """Remember what is held for a pod, to forget it with the pod. The oldest give way: they end by themselves."""
        keys = self._keys.setdefault(uid, OrderedDict())
        key = key_of(ask)
        keys[key] = None
        keys.move_to_end(key)
        self._keys.move_to_end(uid)
        if len(keys) > _MOST_KEYS:
            keys.popitem(last=False)
        if len(self._keys) > _MOST_PODS:
            self._keys.popitem(last=False)

    def _forget(self, uid: str) -> None:
        keys = self._keys.pop(uid, None)
        if keys:
            self._log.info("agent.pod_over", pod_uid=uid, entries=self._cache.forget(tuple(keys)))


def source_check(config: AgentConfig, node: str, cache: CredentialCache, clock: Clock, log: Log) -> SourceCheck:
    """Return the check of this node that the settings ask for, with its watch. Raises `Misconfigured`."""
    why = f"--source-check {config.source_check} needs the API server"
    client = KubeClient(api_server(config.kubeconfig, config.environment, why=why))

    async def read(namespace: str, name: str) -> NodePod:
        return kept(pod_of(await client.get(f"/api/v1/namespaces/{namespace}/pods/{name}", timeout=READ_WITHIN)))

    check = SourceCheck(
        cache,
        read,
        node=node,
        enforce=config.source_check == "enforce",
        own=config.hosts,
        clock=clock,
        log=log,
    )
    here = (("fieldSelector", f"spec.nodeName={node}"),)
    watched = Watched("/api/v1/pods", Pod, kept, here, from_cache=True)
    watch = Watch(client, watched, check.pods, clock=clock, dice=entropy.dice, log=log)
    check.watch_with(watch, client)
    return check


def _pod_of(ask: Ask) -> PodName:
    """Return the pod that a token names, unbelieved; empty texts where it names none."""
    claims = door.payload_of(ask).get("kubernetes.io")
    if not isinstance(claims, dict) or not isinstance(pod := claims.get("pod"), dict):
        return "", "", ""
    texts = (claims.get("namespace"), pod.get("name"), pod.get("uid"))
    namespace, name, uid = (text if isinstance(text, str) and len(text) <= _LONGEST_NAME else "" for text in texts)
    return namespace, name, uid


def _is_pod(namespace: str, name: str) -> bool:
    """Whether these are names: a forged token must not choose what is asked of the API server."""
    try:
        Namespace.parse(namespace)
    except BadName:
        return False
    return _POD_NAME.fullmatch(name) is not None

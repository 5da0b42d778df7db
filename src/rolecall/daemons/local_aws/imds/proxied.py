"""One pod's metadata service behind a proxy: the dialect's own rules and bytes, over the plane's pods and its STS.

What a proxy learns from the address that a question comes from is known here by the listener that it came to: each
pod has one of its own, and is told of no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Refusal
from rolecall.core.records import ContainerFacts, PodFacts
from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.apiserver import namespaces, pods
from rolecall.daemons.local_aws.apiserver.wire import NewPod, Pod
from rolecall.daemons.local_aws.imds.ec2 import Ec2
from rolecall.daemons.local_aws.imds.face import HOSTS
from rolecall.edges.store.sqlite import Database, Tx
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError
from rolecall.mechanisms.imds import wire as imds
from rolecall.mechanisms.imds.door import Asked, Gate
from rolecall.mechanisms.metadata_proxy import door
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.identify import container_at, pod_at

log = Log("rolecall.plane")


@dataclass(frozen=True, slots=True)
class Node:
    """What all pods' metadata services have in common. `documents` are the instance's, by their names."""

    ec2: Ec2
    database: Database
    key: Secret
    documents: Mapping[str, str]


class ProxiedPod:
    """The metadata service of one pod at one address, as a dialect has it."""

    def __init__(self, node: Node, dialect: Dialect, pod: Pod, spec: NewPod, address: str) -> None:
        self._node, self._dialect, self._pod, self._spec, self._address = node, dialect, pod, spec, address
        self._gate = Gate(node.key, source=pod.uid, hosts=HOSTS | {address})

    async def answer(self, request: Request) -> Reply:
        """Return what the proxy says to a request of the pod."""
        asked = door.parse(request, self._gate, self._dialect, now=self._node.ec2.clock.now())
        if isinstance(asked, Reply):
            return asked
        if asked.what == "document":
            text = self._node.documents.get(asked.document)
            return imds.error(404, "not-found") if text is None else imds.text(text)
        return await self._of_role(asked)

    async def _of_role(self, asked: Asked) -> Reply:
        """Return the role's name or a session of it, or why there is none: facts, decision, issue."""
        facts = await self._node.database.run(self._facts)
        if isinstance(facts, Refusal):
            return self._refused(asked, facts)
        if asked.what == "listing":
            name = self._dialect.listing(facts)
            return self._refused(asked, name) if isinstance(name, Refusal) else self._dialect.render_listing(name)
        decision = self._dialect.decide(asked, facts)
        if isinstance(decision, Refusal):
            return self._refused(asked, decision)
        try:
            held = await self._node.ec2.assumed(self._pod.uid, decision.hops[-1])
        except RolecallError as fault:
            return self._told(
                asked, self._dialect.render_error(asked, fault), fault.word, _why(fault.message, fault.hint)
            )
        why = ", ".join(decision.because)
        return self._told(asked, self._dialect.render(asked, held.issued, held.since), "", why)

    def _facts(self, tx: Tx) -> Facts | Refusal:
        """Return what the proxy knows of whoever asks: of a pod that runs, or of its container."""
        now = self._node.ec2.clock.now()
        pod = pods.facts(tx, self._pod.cluster, self._pod.uid, now)
        here = [] if pod is None else [replace(pod, ip=self._address)]
        if self._spec.proxy == "metadataproxy":
            container = container_at(self._address, [self._container(one) for one in here])
            return container if isinstance(container, Refusal) else Facts(container)
        caller = pod_at(self._address, here)
        if isinstance(caller, Refusal):
            return caller
        around = namespaces.namespace(tx, self._pod.cluster, self._pod.namespace)
        return Facts(caller, self._spec.annotations, around.annotations)

    def _container(self, pod: PodFacts) -> ContainerFacts:
        """Return the pod as the container that a Docker engine would show."""
        addresses = frozenset({self._address})
        return ContainerFacts(pod.uid, pod.name, addresses, self._spec.environment, running=pod.running)

    def _refused(self, asked: Asked, refusal: Refusal) -> Reply:
        reply = self._dialect.render_refusal(asked, self._address, refusal)
        return self._told(asked, reply, refusal.reason, _why(refusal.sentence, refusal.hint))

    def _told(self, asked: Asked, reply: Reply, code: str, why: str) -> Reply:
        """Write down what was answered, as the plane's other doors do, and return it."""
        operation, caller = f"{self._dialect.name}:{asked.what}", f"{self._pod.namespace}/{self._pod.name}"
        log.info("plane.answered", operation=operation, caller=caller, status=reply.status, code=code, why=why)
        return reply


def _why(sentence: str, hint: str) -> str:
    return f"{sentence}; {hint}" if hint else sentence

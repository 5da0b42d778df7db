"""Which agent asks: by its own service-account token, where it shows one in place of AWS's signature.

An agent that is known by its token is served for pods of its own node alone: whoever steals the token has stolen
one node's pods, and not the cluster's. AWS's EKS Auth cannot tell one node's signature from another's.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from rolecall.core.names import ClusterName
from rolecall.core.records import ClusterFacts, PodFacts
from rolecall.core.secrets import Secret
from rolecall.core.source import Subject
from rolecall.core.tokens.keys import Keyset
from rolecall.errors import BadToken, ServiceError
from rolecall.mechanisms.pod_identity.identify import identify_agent

log = logging.getLogger("rolecall.eks_auth")


class World(Protocol):
    """What is gathered before an agent is believed; that of EKS Auth has all of it."""

    async def cluster(self, name: ClusterName) -> ClusterFacts | None:
        """Return a cluster."""
        ...

    async def keys(self, cluster: ClusterFacts) -> Keyset:
        """Return the keys of the cluster's issuer; raises `Upstream` where they cannot be had."""
        ...

    async def pod(self, cluster: ClusterName, uid: str) -> PodFacts | None:
        """Return a pod by its UID."""
        ...

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        ...


class Agents:
    """Knows the service accounts that agents run under; with none, no token is taken."""

    def __init__(self, world: World, accounts: Collection[Subject]) -> None:
        self._world, self._accounts = world, frozenset(accounts)

    async def node_of(self, token: Secret, cluster_name: ClusterName) -> str:
        """Return the node of the running pod that shows the token.

        Raises `ServiceError` 403: ``UnrecognizedClientException`` for a token that is not believed, and
        ``AccessDeniedException`` for one of another service account. Neither says anything about the pod that is asked
        for, so that no agent drops what it holds: its own code for that is another.
        """
        cluster = await self._world.cluster(cluster_name)
        if cluster is None:
            raise _refused("no-cluster", "UnrecognizedClientException", f"no cluster is called {cluster_name}")
        keys = await self._world.keys(cluster)
        try:
            claims = identify_agent(token, cluster=cluster, keys=keys, now=self._world.now())
        except BadToken as fault:
            raise _refused(fault.reason, "UnrecognizedClientException", fault.message) from None
        found = claims.kubernetes
        assert found is not None, "identify_agent believes only tokens that are bound to a pod"
        if Subject(found.namespace, found.service_account) not in self._accounts:
            why = f"service account {found.namespace}/{found.service_account} runs no agent here"
            raise _refused("not-an-agent", "AccessDeniedException", why)
        pod = await self._world.pod(cluster.name, str(found.pod_uid))
        ours = pod is not None and (pod.namespace, pod.service_account) == (found.namespace, found.service_account)
        if pod is None or not ours or not pod.running:
            raise _refused("pod-gone", "UnrecognizedClientException", "its pod does not run any more")
        if found.node_name not in (None, pod.node):
            raise _refused("wrong-node", "UnrecognizedClientException", "its pod runs on another node than it says")
        return pod.node


def _refused(reason: str, code: str, why: str) -> ServiceError:
    """Return the error, once the operator can read the reason."""
    log.warning("eks_auth.agent_refused", extra={"fields": {"reason": reason, "code": code, "why": why}})
    return ServiceError(code, f"The agent's own token is not accepted: {why}.", status=403)

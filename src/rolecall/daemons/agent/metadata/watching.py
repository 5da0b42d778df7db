"""What keeps the metadata door's view of the node's pods, and of the namespaces, as the API server has them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolecall.core.names import ClusterName
from rolecall.daemons.agent.metadata.pods_by_ip import PodsByIp, keeping_namespaces, keeping_pods
from rolecall.edges import entropy
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import KubeClient
from rolecall.edges.kube.config import api_server
from rolecall.edges.kube.watch import Watch, Watched
from rolecall.edges.kube.wire import HasMeta, Pod
from rolecall.edges.telemetry import Log


class Watching:
    """The two watches, from `start` to `close`. `node` None: the pods of every node."""

    def __init__(
        self, client: KubeClient, pods: PodsByIp, keys: frozenset[str], *, node: str | None,
        cluster: ClusterName | None, clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        self._client, self._view = client, pods
        here = (("fieldSelector", f"spec.nodeName={node}"),) if node else ()
        of_pods = Watched("/api/v1/pods", Pod, keeping_pods(keys, cluster), here, from_cache=True)
        of_namespaces = Watched(
            "/api/v1/namespaces", HasMeta, keeping_namespaces(keys), metadata_only=True, from_cache=True
        )
        self.pods = Watch(client, of_pods, pods, clock=clock, dice=entropy.dice, log=log)
        self.namespaces = Watch(client, of_namespaces, pods.namespaces, clock=clock, dice=entropy.dice, log=log)
        self._tasks: list[asyncio.Task[None]] = []
        pods.namespaces_coming = lambda: not (self.namespaces.listed.is_set() or self.namespaces.failing)

    @property
    def both(self) -> dict[str, Watch[Any, Any]]:
        """The watches by what they watch."""
        return {"pods": self.pods, "namespaces": self.namespaces}

    def start(self) -> None:
        """Begin watching."""
        for name, watch in self.both.items():
            self._tasks.append(asyncio.create_task(watch.run(), name=f"metadata.{name}"))

    def fault(self) -> str:
        """Return what is wrong where a watch has ended, which none should."""
        ended = any(task.done() and not task.cancelled() for task in self._tasks)
        return "a watch of the metadata door has ended" if ended else ""

    def missing(self) -> str:
        """Return what is not known yet, of pods and, where they decide, of namespaces; an empty text where it is."""
        needed = self.both if self._view.needs_namespace else {"pods": self.pods}
        names = [f"{name}: {watch.failing or 'listing'}" for name, watch in needed.items() if not watch.listed.is_set()]
        return f"not known yet: {'; '.join(names)}" if names else ""

    async def close(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()


def kube_client(kubeconfig: Path | None, environment: Mapping[str, str], what: str) -> KubeClient:
    """Return a client for the API server; raises `Misconfigured` where nobody has said which."""
    return KubeClient(api_server(kubeconfig, environment, why=f"{what} needs the API server"))

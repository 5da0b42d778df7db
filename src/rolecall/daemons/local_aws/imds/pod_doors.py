"""The metadata services of the pods that run behind a proxy: each has a listener, for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from rolecall.daemons.local_aws.apiserver import pods
from rolecall.daemons.local_aws.apiserver.wire import NewPod, Pod, Proxy
from rolecall.daemons.local_aws.imds.listening import served
from rolecall.daemons.local_aws.imds.proxied import Node, ProxiedPod
from rolecall.edges import entropy
from rolecall.edges.sockets import Listener, bind_tcp, own_url
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import Misconfigured, ServiceError
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.kube2iam import Kube2iamDialect
from rolecall.mechanisms.metadata_proxy.metadataproxy import MetadataproxyDialect
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam, Metadataproxy

MOST = 200


class PodDoors:
    """Opens and closes them. With `restrictions`, kube2iam asks the namespace too, which it does not by itself."""

    def __init__(self, node: Node, *, restrictions: bool) -> None:
        self._node = node
        self._open: dict[str, tuple[str, AsyncExitStack]] = {}
        world = node.ec2.world
        base = world.iam_arn("role/")
        self.dialects: Mapping[Proxy, Dialect] = {
            "kube2iam": Kube2iamDialect(Kube2iam(base=base, restrictions=restrictions)),
            "kiam": KiamDialect(Kiam(base=base)),
            "metadataproxy": MetadataproxyDialect(
                Metadataproxy(account=str(world.account), partition=str(world.partition))
            ),
        }

    async def open(self, pod: Pod, spec: NewPod, proxy: Proxy) -> str:
        """Return the URL of a new pod's metadata service.

        Raises `ServiceError` where more pods have one than a laptop runs.
        """
        await self._close_dead()
        if len(self._open) >= MOST:
            raise ServiceError("LimitExceededException", f"{MOST} pods have a metadata service already", status=429)
        listener = _listener()
        address = str(listener.getsockname()[0])
        door = ProxiedPod(self._node, self.dialects[proxy], pod, spec, address)
        stack = AsyncExitStack()
        stack.callback(listener.close)
        await stack.enter_async_context(served(door.answer, listener, self._node.ec2.clock))
        self._open[pod.uid] = own_url(listener), stack
        return own_url(listener)

    def url_of(self, uid: str) -> str | None:
        """Return the URL of a pod's, if it has one."""
        found = self._open.get(uid)
        return None if found is None else found[0]

    async def close(self, uid: str) -> None:
        """Close a pod's, if it has one."""
        found = self._open.pop(uid, None)
        if found is not None:
            await found[1].aclose()

    async def aclose(self) -> None:
        """Close them all, at once: the plane is to end soon."""
        await asyncio.gather(*map(self.close, list(self._open)))

    async def _close_dead(self) -> None:
        """Close those of pods that have ended without a word."""
        now, known = self._node.ec2.clock.now(), list(self._open)

        def dead(tx: Tx) -> list[str]:
            return [uid for uid in known if not pods.runs(tx, uid, now)]

        for uid in await self._node.database.run(dead):
            await self.close(uid)


def _listener() -> Listener:
    """Return a listener at an address that only this pod has, where loopback has more than one, as on Linux."""
    try:
        one = f"127.{entropy.number(64, 127)}.{entropy.number(0, 255)}.{entropy.number(1, 254)}"
        return bind_tcp(one, 0)
    except Misconfigured:
        return bind_tcp("127.0.0.1", 0)

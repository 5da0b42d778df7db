"""Writes that only a leader makes."""

from __future__ import annotations

from rolecall.daemons.controller.lease.leader import Leader
from rolecall.edges.kube.client import METADATA, KubeClient


class Fenced:
    """The API server for one that may write only while it leads: each write asks first."""

    def __init__(self, client: KubeClient, leader: Leader | None) -> None:
        self._client, self._leader = client, leader

    def check(self) -> None:
        """Raise `NotLeading` where nothing may be written."""
        if self._leader is not None:
            self._leader.check()

    async def get(self, path: str) -> bytearray:
        """Return an object."""
        return await self._client.get(path)

    async def meta(self, path: str) -> bytearray:
        """Return an object without what it holds: its metadata."""
        return await self._client.get(path, accept=METADATA)

    async def create(self, path: str, body: bytes) -> bytearray:
        """POST an object."""
        self.check()
        return await self._client.create(path, body)

    async def patch(self, path: str, body: bytes, *, kind: str = "merge-patch") -> bytearray:
        """PATCH an object."""
        self.check()
        return await self._client.patch(path, body, kind=kind)

    async def delete(self, path: str, options: bytes = b"") -> bytearray:
        """DELETE an object."""
        self.check()
        return await self._client.delete(path, options)

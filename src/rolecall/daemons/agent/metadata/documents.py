"""The node's documents that pods may read, fetched with our own questions, and held for a while.

What is asked for is a name of the allow-list; nothing of the pod's request goes to the node's service.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from rolecall.edges.aws.imds import Imds
from rolecall.edges.clock import Clock
from rolecall.errors import RolecallError
from rolecall.mechanisms.imds.documents import upstream_path

FOUND, NOT_FOUND = 300.0, 30.0
"""Seconds that a document is held, and that the node has none of this name."""
FAILED = 2.0
"""Seconds that a failure is told again: a pod in a loop asks the node's service no oftener."""


class Documents(Protocol):
    """Returns the document of a name of the allow-list, or None where there is none. Raises `RolecallError`."""

    def held(self, name: str) -> bytes | None:
        """Return the document if it is at hand; None where it has to be asked for."""
        ...

    async def __call__(self, name: str) -> bytes | None:
        """Return the document; None where there is none."""
        ...


class NoDocuments:
    """Documents of a place that has no metadata service of its own."""

    def held(self, name: str) -> bytes | None:
        """Return None."""
        return None

    async def __call__(self, name: str) -> bytes | None:
        """Return None."""
        return None


class NodeDocuments:
    """The documents of the node's own service. One question for each name at a time, however many ask."""

    def __init__(self, imds: Imds, clock: Clock) -> None:
        self._imds, self._clock = imds, clock
        self._held: dict[str, tuple[float, bytes | RolecallError | None]] = {}
        self._asking: dict[str, asyncio.Task[bytes | None]] = {}

    def held(self, name: str) -> bytes | None:
        """Return the document if it is at hand."""
        until, found = self._held.get(name, (0.0, None))
        return found if isinstance(found, bytes) and self._clock.monotonic() < until else None

    async def __call__(self, name: str) -> bytes | None:
        """Return the document; raises `NoNodeCredentials` where the service did not say."""
        until, found = self._held.get(name, (0.0, None))
        if self._clock.monotonic() < until:
            if isinstance(found, RolecallError):
                raise found.with_traceback(None)
            return found
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._ask(name), name="metadata.document")
        return await asyncio.shield(task)

    async def _ask(self, name: str) -> bytes | None:
        now = self._clock.monotonic
        try:
            found = await self._imds.document(upstream_path(name))
            self._held[name] = (now() + (NOT_FOUND if found is None else FOUND), found)
            return found
        except RolecallError as error:
            self._held[name] = (now() + FAILED, error)
            raise
        finally:
            del self._asking[name]

    async def close(self) -> None:
        """End all questions."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

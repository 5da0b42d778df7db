"""Asks a Docker engine who has an address. It is asked each time, for addresses pass from container to container.

An answer that was kept, be it for a second, could be the last container's: metadataproxy kept it for ever, and gave the
next one at that address the older one's role. A list and one inspection are a few milliseconds on a socket of this
machine.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from rolecall.core.records import ContainerFacts
from rolecall.edges.clock import Clock, within
from rolecall.edges.docker import wire
from rolecall.edges.http_client import CallFailed, cause_of
from rolecall.edges.http_stream import Connection
from rolecall.errors import Upstream

LONGEST_ANSWER = 16_777_216
"""Bytes: a thousand containers with long labels."""

AT_ONCE = 8
"""Questions that an engine is asked at once; the others wait. Its answers take milliseconds."""

_ID = re.compile(r"[0-9a-f]{12,64}")


class DockerEngine:
    """An engine at a Unix socket. Of environments only the variables in `keep` are read.

    All that one question takes, also until its turn comes, is bounded by `timeout` (seconds).
    """

    def __init__(self, socket: Path, *, clock: Clock, keep: Collection[str], timeout: float = 0.8) -> None:
        self._socket, self._clock, self._keep, self._timeout = socket, clock, keep, timeout
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def at(self, address: str) -> list[ContainerFacts]:
        """Return the running containers that have this address now, each as it was found a moment later.

        One that ended in between, or has lost the address, is left out. Raises `Upstream`.
        """
        return await self._in_time(lambda: self._at(address))

    async def running(self) -> frozenset[str]:
        """Return the ids of all running containers. Raises `Upstream`."""
        return frozenset(one.id for one in await self._in_time(self._list))

    async def _in_time(self, work: Callable[[], Awaitable[list[ContainerFacts]]]) -> list[ContainerFacts]:
        async def in_turn() -> list[ContainerFacts]:
            async with self._turns:
                return await work()

        try:
            return await within(self._clock, self._timeout, in_turn())
        except TimeoutError:
            raise Upstream(f"the Docker engine at {self._socket} did not answer in {self._timeout:g} s") from None

    async def _at(self, address: str) -> list[ContainerFacts]:
        listed = [one for one in await self._list() if address in one.addresses]
        found = [await self._inspect(one.id) for one in listed[:16]]
        return [one for one in found if one is not None and one.running and address in one.addresses]

    async def _list(self) -> list[ContainerFacts]:
        status, body = await self._get("/containers/json")
        if status != 200:
            raise Upstream(f"the Docker engine at {self._socket} answered with HTTP status {status}")
        return wire.decode_list(body)

    async def _inspect(self, number: str) -> ContainerFacts | None:
        if not _ID.fullmatch(number):
            raise Upstream("the Docker engine called a container by something that is no id")
        status, body = await self._get(f"/containers/{number}/json")
        if status == 404:
            return None
        if status != 200:
            raise Upstream(f"the Docker engine at {self._socket} answered with HTTP status {status}")
        return wire.decode_container(body, keep=self._keep)

    async def _get(self, path: str) -> tuple[int, bytes]:
        """Return status and body; a connection for each question, so that nothing of another can be in it."""
        engine = f"the Docker engine at {self._socket}"
        try:
            connection = Connection(engine, *await asyncio.open_unix_connection(str(self._socket)))
        except OSError as fault:
            raise Upstream(
                f"{engine} cannot be reached: {fault.strerror or 'unknown error'}",
                hint="mount its socket, and run as a user that may use it",
            ) from None
        try:
            await connection.ask("GET", path, (("host", "docker"), ("connection", "close")), b"")
            return connection.status, bytes(await connection.body(LONGEST_ANSWER))
        except OSError as fault:
            raise CallFailed(engine, cause_of(fault)) from None
        finally:
            connection.close()

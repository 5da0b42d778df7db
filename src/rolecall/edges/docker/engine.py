"""Asks a Docker engine who has an address. It is asked each time, for addresses pass from container to container.

An answer that was kept, be it for a second, could be the last container's: metadataproxy kept it for ever, and gave the
next one at that address the older one's role. What is remembered for a second is which container it was, to look at
that one first: where it still runs, and still has the address, the list of all would say nothing else.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path

from rolecall.core.records import ContainerFacts
from rolecall.edges.clock import Clock, within
from rolecall.edges.docker import wire
from rolecall.edges.http_call import CallFailed, cause_of
from rolecall.edges.http_stream import Connection, connect_unix
from rolecall.errors import Upstream

LONGEST_ANSWER = 16_777_216
"""Bytes: a thousand containers with long labels."""

AT_ONCE = 8
"""Questions that an engine is asked at once; the others wait. Its answers take milliseconds."""

LATELY = 1.0
"""Seconds in which the container that had an address alone is looked at without the list of all. A second one at that
address is found out after that."""
_MOST_LATELY, _MOST_IDLE = 1024, 4

_ID = re.compile(r"[0-9a-f]{12,64}")


class DockerEngine:
    """An engine at a Unix socket. Of environments only the variables in `keep` are read.

    All that one question takes, also until its turn comes, is bounded by `timeout` (seconds).
    """

    def __init__(self, socket: Path, *, clock: Clock, keep: Collection[str], timeout: float = 0.8) -> None:
        self._name = f"the Docker engine at {socket}"
        self._socket, self._clock, self._keep, self._timeout = socket, clock, keep, timeout
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._lately: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._idle: list[Connection] = []

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
            raise Upstream(f"{self._name} did not answer in {self._timeout:g} s") from None

    async def _at(self, address: str) -> list[ContainerFacts]:
        number, until = self._lately.pop(address, ("", 0.0))
        if self._clock.monotonic() < until:
            same = _there(address, [await self._inspect(number)])
            if same:
                self._lately[address] = (number, until)
                return same
        listed = [one for one in await self._list() if address in one.addresses]
        found = _there(address, [await self._inspect(one.id) for one in listed[:16]])
        if len(found) == 1 == len(listed):
            self._lately[address] = (found[0].id, self._clock.monotonic() + LATELY)
            if len(self._lately) > _MOST_LATELY:
                self._lately.popitem(last=False)
        return found

    async def _list(self) -> list[ContainerFacts]:
        status, body = await self._get("/containers/json")
        if status != 200:
            raise Upstream(f"{self._name} answered with HTTP status {status}")
        return wire.decode_list(body)

    async def _inspect(self, number: str) -> ContainerFacts | None:
        if not _ID.fullmatch(number):
            raise Upstream("the Docker engine called a container by something that is no id")
        status, body = await self._get(f"/containers/{number}/json")
        if status == 404:
            return None
        if status != 200:
            raise Upstream(f"{self._name} answered with HTTP status {status}")
        return wire.decode_container(body, keep=self._keep)

    async def _get(self, path: str) -> tuple[int, bytes]:
        """Return status and body. A connection that the engine has closed meanwhile is no fault of the engine's."""
        while self._idle:
            connection = self._idle.pop()
            with suppress(OSError, CallFailed):
                return await self._ask(connection, path)
        return await self._ask(await self._connect(), path)

    async def _connect(self) -> Connection:
        try:
            return await connect_unix(self._name, str(self._socket))
        except OSError as fault:
            raise Upstream(
                f"{self._name} cannot be reached: {fault.strerror or 'unknown error'}",
                hint="mount its socket, and run as a user that may use it",
            ) from None

    async def _ask(self, connection: Connection, path: str) -> tuple[int, bytes]:
        """Ask at a connection that nobody else uses, and keep it where the answer was read to its end."""
        try:
            await connection.ask("GET", path, (("host", "docker"),), b"")
            answer = connection.status, bytes(await connection.body(LONGEST_ANSWER))
            if connection.reusable and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            return answer
        except OSError as fault:
            raise CallFailed(self._name, cause_of(fault)) from None
        finally:
            if connection not in self._idle:
                connection.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()


def _there(address: str, found: list[ContainerFacts | None]) -> list[ContainerFacts]:
    """Return those that run and have the address."""
    return [one for one in found if one is not None and one.running and address in one.addresses]

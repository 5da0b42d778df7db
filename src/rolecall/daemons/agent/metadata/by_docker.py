"""The parts of the metadata door that a Docker host has in place of a watch of pods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rolecall.daemons.agent.metadata.containers import ContainersByIp, MappedAddresses
from rolecall.daemons.agent.metadata.docker_flags import DockerSettings
from rolecall.daemons.agent.metadata.mocked import mocked_documents
from rolecall.edges.aws.imds import Imds
from rolecall.edges.clock import Clock
from rolecall.edges.docker.engine import DockerEngine
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

LOOK_AGAIN = 60.0
"""Seconds until the node is asked again for its account, where it did not say."""


class MockedDocuments:
    """The documents of an instance that is made up."""

    def __init__(self, instance: str, region: str) -> None:
        self._documents = mocked_documents(instance, region)

    def held(self, name: str) -> bytes | None:
        """Return the document."""
        return self._documents.get(name)

    async def __call__(self, name: str) -> bytes | None:
        """Return the document; None where there is none."""
        return self._documents.get(name)


class NodeAccount:
    """The account that this node is in, as its metadata service says: "" until it has said so."""

    def __init__(self, imds: Imds | None, clock: Clock, log: Log) -> None:
        self._imds, self._clock, self._log = imds, clock, log
        self.found = ""

    async def run(self) -> None:
        """Ask until it is known. Meanwhile roles that name no account are refused, and others are not."""
        said = self._log.warning  # once; after that it is no news
        while self._imds is not None and not self.found:
            try:
                self.found = await self._imds.account()
            except RolecallError as error:
                said("agent.account_unknown", why=error.message, hint="set DEFAULT_ACCOUNT_ID")
                said = self._log.debug
                await self._clock.sleep(LOOK_AGAIN)


class ByDocker:
    """Who asks, and what goes on behind it."""

    def __init__(
        self, whose: ContainersByIp | MappedAddresses, account: NodeAccount, engine: DockerEngine | None = None
    ) -> None:
        self.whose, self._account, self._engine = whose, account, engine
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin it. Call it once, inside the running loop."""
        self._tasks.append(asyncio.create_task(self._account.run(), name="metadata.account"))
        if isinstance(self.whose, ContainersByIp):
            self._tasks.append(asyncio.create_task(self.whose.run(), name="metadata.containers"))

    def fault(self) -> str:
        """Return what a restart may mend; nothing where all is well."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled() and task.exception()]
        return "the look for containers that have ended has ended" if ended else ""

    def missing(self) -> str:
        """Return why nobody can be served; an empty text where somebody can."""
        return self.whose.missing if isinstance(self.whose, ContainersByIp) else ""

    async def close(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._engine is not None:
            self._engine.close()


def by_docker(
    settings: DockerSettings, imds: Imds | None, lost: Callable[[str], None], clock: Clock, log: Log
) -> ByDocker:
    """Return who asks by the settings; `lost` is told the ids of containers that have ended."""
    account = NodeAccount(None if settings.rules.account else imds, clock, log)

    def found() -> str:
        return account.found

    if settings.table is not None:
        return ByDocker(MappedAddresses(settings.table, found), account)
    engine = DockerEngine(settings.socket, clock=clock, keep=settings.variables())
    return ByDocker(ContainersByIp(engine, account=found, lost=lost, clock=clock, log=log), account, engine)

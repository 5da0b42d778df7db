"""Who asks, where there is no Kubernetes: the Docker container that has the address now.

Nothing is kept from one question to the next. Events tell what has happened, but nobody can say whether all of them
have come: a container that is given an address while it runs asks from it at once. So the engine is asked, each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol

from rolecall.core.grant import Refusal
from rolecall.core.records import ContainerFacts
from rolecall.edges.clock import Clock
from rolecall.edges.limits import PerSource
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, ServiceError
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.identify import address_of, container_at

LOOKS_A_SECOND, LOOKS_AT_ONCE = 50.0, 500.0
"""Questions about one address. An SDK has a few an hour; each costs the engine a millisecond and more."""


SWEEP = 15.0
"""Seconds between two looks at all containers: the credentials of those that have ended need not be renewed."""
_MOST_SEEN = 4096


class Engine(Protocol):
    """What is asked of the engine (`rolecall.edges.docker.engine.DockerEngine`)."""

    async def at(self, address: str) -> list[ContainerFacts]:
        """Return the running containers that have this address now. Raises `Upstream`."""
        ...

    async def running(self) -> frozenset[str]:
        """Return the ids of all running containers. Raises `Upstream`."""
        ...


class ContainersByIp:
    """Says which container asks. `lost` is told the ids of those that have ended, some time after.

    `missing` says why nobody can be known, where the engine did not answer when it was last looked at. `account`
    returns the account of the agent's own credentials, "" where it is unknown.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        account: Callable[[], str],
        lost: Callable[[str], None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._engine, self._account, self._lost = engine, account, lost
        self._clock, self._log = clock, log
        self._per_source = PerSource(rate=LOOKS_A_SECOND, burst=LOOKS_AT_ONCE, clock=clock)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.missing = ""

    def known(self, peer: str) -> Facts | Refusal | None:
        """Return nothing but the refusal of what is no address: what was true a moment ago may be another's now."""
        return None if address_of(peer) else _NOWHERE

    async def facts(self, peer: str) -> Facts | Refusal:
        """Return the container that has this address now, or why none asks.

        Raises `Upstream` where the engine does not say it in time, and `ServiceError` 429 for an address that asks
        too often.
        """
        address = address_of(peer)
        if not address:
            return _NOWHERE
        if not self._per_source.take(address):
            raise ServiceError("TooManyRequests", f"{address} asks too often", status=429)
        caller = container_at(address, await self._engine.at(address))
        if isinstance(caller, Refusal):
            return caller
        self._see(caller.container.id)
        return Facts(caller, account=self._account())

    async def run(self) -> None:
        """Look for those that have ended, until cancelled. This is thrift only: nobody is found by what is kept."""
        while True:
            await self._sweep()
            await self._clock.sleep(SWEEP)

    async def _sweep(self) -> None:
        try:
            ended = self._seen.keys() - await self._engine.running()
        except RolecallError as error:
            if not self.missing:
                self._log.warning("agent.docker_unreachable", why=error.message, hint=error.hint)
            self.missing = error.message
            return
        self.missing = ""
        for one in ended:
            del self._seen[one]
            self._lost(one)

    def _see(self, container: str) -> None:
        self._seen[container] = None
        self._seen.move_to_end(container)
        if len(self._seen) > _MOST_SEEN:
            self._lost(self._seen.popitem(last=False)[0])


class MappedAddresses:
    """Says who asks by a table that the operator wrote (ROLE_MAPPING_FILE): Docker is not asked.

    An address that is not in it is nobody, also where there is a default role.
    """

    def __init__(self, table: Mapping[str, ContainerFacts], account: Callable[[], str]) -> None:
        self._table, self._account = table, account

    def known(self, peer: str) -> Facts | Refusal:
        """Return what the table says of this address."""
        address = address_of(peer)
        if not address:
            return _NOWHERE
        found = self._table.get(address)
        caller = container_at(address, () if found is None else (found,))
        return caller if isinstance(caller, Refusal) else Facts(caller, account=self._account())

    async def facts(self, peer: str) -> Facts | Refusal:
        """Return the same."""
        return self.known(peer)


_NOWHERE = Refusal("no-container", "whoever asks has no address")

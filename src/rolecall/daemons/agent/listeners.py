"""The agent's listeners: the door on every address that can be bound, probes and metrics beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rolecall.daemons.agent.config import LINK_LOCAL, AgentConfig
from rolecall.edges.clock import Clock
from rolecall.edges.descriptors import raise_limit
from rolecall.edges.http_server import Handler, HttpServer, Quick
from rolecall.edges.limits import VIEWS, ServerLimits
from rolecall.edges.sockets import Listener, bind_tcp, shown_address
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

if TYPE_CHECKING:
    from rolecall.daemons.agent.metadata.build import MetadataDoor
    from rolecall.daemons.agent.metadata.settings import MetadataSettings
    from rolecall.edges.admin_socket import AdminSocket

_CONNECTIONS = 2048
"""Of each address of the door, where there are descriptors for so many."""
_OTHER_DESCRIPTORS = 512
"""Probes and metrics, files, calls upstream: no crowd at the door takes these."""


class Listeners:
    """Opens and closes what the agent serves on.

    `bound` has the door's address at each host, `not_bound` the hosts that it could not be bound to, with why;
    `doors` are its servers. So are `metadata_bound` and `metadata` the metadata door's. `stopping` is set when the
    doors take nobody in any more.
    """

    def __init__(self, config: AgentConfig, clock: Clock, log: Log) -> None:
        self._config, self._clock, self._log = config, clock, log
        self.bound: dict[str, str] = {}
        self.not_bound: dict[str, str] = {}
        self.doors: list[HttpServer] = []
        self.metadata_bound: dict[str, str] = {}
        self.metadata: list[HttpServer] = []
        self.stopping = False
        self._others: list[HttpServer] = []
        self._admin: AdminSocket | None = None

    @property
    def addresses(self) -> list[str]:
        """The addresses of the doors."""
        return [*self.bound.values(), *self.metadata_bound.values()]

    @property
    def in_flight(self) -> int:
        """How many requests the doors are answering now."""
        return sum(server.in_flight for server in (*self.doors, *self.metadata))

    async def open_doors(self, handler: Handler, quick: Quick | None, metadata: MetadataDoor | None) -> list[str]:
        """Serve the doors that the settings ask for, and return their addresses; raises `Misconfigured`."""
        if self._config.pod_identity:
            await self.open_door(handler, quick)
        if metadata is not None and self._config.metadata is not None:
            await self._open_metadata(metadata, self._config.metadata)
        return self.addresses

    async def _open_metadata(self, door: MetadataDoor, settings: MetadataSettings) -> None:
        limits, flags = self._limits(), "--imds-bind-hosts and --imds-port"
        for host in settings.hosts:
            try:
                server, self.metadata_bound[host] = await self._open(
                    host, settings.port, door, limits, flags, door.quick
                )
                self.metadata.append(server)
            except Misconfigured as fault:
                self.not_bound[f"{host}:{settings.port}"] = fault.message
                self._log.warning("agent.not_bound", host=host, port=settings.port, why=fault.message)
        if not self.metadata_bound:
            raise Misconfigured("; ".join(self.not_bound.values()), hint=_hint(settings.hosts))

    async def open_door(self, handler: Handler, quick: Quick | None = None) -> list[str]:
        """Serve the door and return its addresses; raises `Misconfigured` where none could be bound.

        One that cannot be bound is reported and left out: a node without IPv6 still serves IPv4.
        """
        limits, flags = self._limits(), "--bind-hosts and --port"
        for host in self._config.hosts:
            try:
                server, self.bound[host] = await self._open(host, self._config.port, handler, limits, flags, quick)
                self.doors.append(server)
            except Misconfigured as fault:
                self.not_bound[host] = fault.message
                self._log.warning("agent.not_bound", host=host, why=fault.message)
        if not self.addresses:
            why = "; ".join(self.not_bound.values())
            raise Misconfigured(why, hint=_hint(self.not_bound))
        return self.addresses

    def _limits(self) -> ServerLimits:
        """Return the door's limits: connections are bounded below the number of descriptors, which is raised first."""
        metadata = self._config.metadata
        doors = len(self._config.hosts) + (0 if metadata is None else len(metadata.hosts))
        descriptors = raise_limit(doors * _CONNECTIONS + _OTHER_DESCRIPTORS)
        left = max(descriptors - _OTHER_DESCRIPTORS, descriptors // 4)
        connections = min(_CONNECTIONS, max(1, left // doors))
        self._log.info("agent.descriptors", limit=descriptors, connections=connections)
        return ServerLimits(connections=connections, connections_of_one=max(1, connections // 2))

    async def open_probes(self, handler: Handler) -> None:
        """Serve /healthz, /readyz and /metrics where the settings say."""
        places = []
        if self._config.probe_port:
            places.append(("127.0.0.1", self._config.probe_port, "--probe-port"))
        if self._config.metrics_port:
            places.append(
                (self._config.metrics_host, self._config.metrics_port, "--metrics-address and --metrics-port")
            )
        for host, port, flags in places:
            self._others.append((await self._open(host, port, handler, VIEWS, flags))[0])

    async def open_admin(self, path: Path, handler: Handler) -> None:
        """Serve the admin socket; raises `Misconfigured` where there can be none."""
        from rolecall.edges.admin_socket import AdminSocket  # here: few agents have one

        self._admin = AdminSocket(path)
        self._others.append(await self._listen(self._admin.listener, handler, VIEWS))

    async def drain(self, seconds: float) -> None:
        """Take no more connections at the door; give requests under way that many seconds. The probes go on."""
        self.stopping = True
        await asyncio.gather(*(server.close(seconds) for server in (*self.doors, *self.metadata)))

    async def close(self) -> None:
        """End all of it now."""
        self.stopping = True
        await asyncio.gather(*(server.close(0.0) for server in (*self.doors, *self.metadata, *self._others)))
        if self._admin is not None:
            self._admin.remove()

    async def _open(
        self, host: str, port: int, handler: Handler, limits: ServerLimits, flags: str, quick: Quick | None = None
    ) -> tuple[HttpServer, str]:
        listener = bind_tcp(host, port, flag=flags)
        return await self._listen(listener, handler, limits, quick), shown_address(listener)

    async def _listen(
        self, listener: Listener, handler: Handler, limits: ServerLimits, quick: Quick | None = None
    ) -> HttpServer:
        server = HttpServer(handler, clock=self._clock, limits=limits, log=self._log, quick=quick)
        await server.listen(listener)
        return server


def _hint(hosts: Iterable[str]) -> str:
    choose = "choose an address and port that exist here and are free"
    if not any(host in LINK_LOCAL for host in hosts):
        return choose
    made = "`rolecall agent initialize` makes the link-local addresses, and a port below 1024 needs NET_BIND_SERVICE"
    return f"{made}; or {choose}"

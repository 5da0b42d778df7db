"""The agent's listeners: the door on every address that can be bound, probes and metrics beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.agent.build import Agent, probes
from rolecall.daemons.agent.config import AgentConfig
from rolecall.edges.clock import Clock
from rolecall.edges.http_server import Handler, HttpServer, Quick, ServerLimits
from rolecall.edges.sockets import bind_tcp, shown_address
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured


class Listeners:
    """Opens and closes what the agent serves on."""

    def __init__(self, config: AgentConfig, clock: Clock, log: Log) -> None:
        self._config, self._clock, self._log = config, clock, log
        self._servers: list[HttpServer] = []

    async def open_door(self, handler: Handler, quick: Quick | None = None) -> list[str]:
        """Serve the door and return its addresses; raises `Misconfigured` where none could be bound.

        One that cannot be bound is reported and left out: a node without IPv6 still serves IPv4.
        """
        addresses: list[str] = []
        faults: list[str] = []
        for host in self._config.hosts:
            try:
                flags = "--bind-hosts and --port"
                addresses.append(await self._open(host, self._config.port, handler, flags, quick))
            except Misconfigured as fault:
                faults.append(fault.message)
                self._log.warning("agent.not_bound", host=host, why=fault.message)
        if not addresses:
            raise Misconfigured("; ".join(faults), hint="choose an address and port that exist here and are free")
        return addresses

    async def open_probes(self, agent: Agent, serving: Callable[[], bool]) -> None:
        """Serve /healthz, /readyz and /metrics where the settings say."""

        def handler(request: Request) -> Reply:
            return probes(agent, serving, request)

        if self._config.probe_port:
            await self._open("127.0.0.1", self._config.probe_port, handler, "--probe-port")
        if self._config.metrics_port:
            flags = "--metrics-address and --metrics-port"
            await self._open(self._config.metrics_host, self._config.metrics_port, handler, flags)

    async def close(self, drain: float) -> None:
        """Take no more connections; give requests under way `drain` seconds."""
        await asyncio.gather(*(server.close(drain) for server in self._servers))

    async def _open(self, host: str, port: int, handler: Handler, flags: str, quick: Quick | None = None) -> str:
        server = HttpServer(handler, clock=self._clock, limits=ServerLimits(), log=self._log, quick=quick)
        listener = bind_tcp(host, port, flag=flags)
        await server.listen(listener)
        self._servers.append(server)
        return shown_address(listener)

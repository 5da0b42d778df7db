"""The agent as a process: bind what can be bound, serve until told to stop, drain."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine

from rolecall.daemons.agent.build import Agent, build, probes
from rolecall.daemons.agent.config import AgentConfig, read_config
from rolecall.daemons.runner import stop_on_signals, stop_with_parent
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_server import Handler, HttpServer, ServerLimits
from rolecall.edges.sockets import bind_tcp, shown_address
from rolecall.edges.telemetry import Log, configure
from rolecall.errors import Misconfigured, RolecallError

DRAIN = 1.5
OpenDoor = Callable[[str, int, Handler], Awaitable[str]]


def main(argv: list[str] | None = None) -> int:
    """Run the agent with these arguments, or the process's own.

    Returns 0 after a clean stop, 2 where it could not run.
    """
    try:
        config = read_config(argv)
        configure(sys.stderr, config.verbosity)
        return _loop(_serve(config))
    except RolecallError as error:
        sys.stderr.write(f"rolecall agent: {error.message}\n" + (f"  {error.hint}\n" if error.hint else ""))
        return 2


def _loop(work: Coroutine[None, None, int]) -> int:
    import uvloop

    return uvloop.run(work)


async def _serve(config: AgentConfig) -> int:
    clock, log = SystemClock(), Log("rolecall.agent")
    stop = stop_on_signals()
    if config.exit_with_stdin:
        stop_with_parent(stop)
    agent = build(config, clock, log)
    servers: list[HttpServer] = []
    addresses: list[str] = []

    async def open_door(host: str, port: int, handler: Handler) -> str:
        server = HttpServer(handler, clock=clock, limits=ServerLimits(), log=log)
        listener = bind_tcp(host, port)
        await server.listen(listener)
        servers.append(server)
        return shown_address(listener)

    for host in config.hosts:
        try:
            addresses.append(await open_door(host, config.port, agent.corridor))
        except Misconfigured as fault:
            log.warning("agent.not_bound", host=host, why=fault.message)
    if not addresses:
        raise Misconfigured(
            f"none of {', '.join(config.hosts)} could be bound on port {config.port}",
            hint="run `initialize` first, or choose an address and port that are free",
        )
    await _open_probes(config, agent, open_door, lambda: not stop.is_set())
    agent.cache.start()
    log.info("agent.serving", addresses=addresses, cluster=config.cluster, endpoint=config.endpoint or "aws")
    await stop.wait()
    for server in servers:
        await server.close(DRAIN)
    await agent.cache.close()
    agent.http.close()
    log.info("agent.stopped")
    return 0


async def _open_probes(config: AgentConfig, agent: Agent, open_door: OpenDoor, serving: Callable[[], bool]) -> None:
    handler = functools.partial(probes, agent, serving)
    if config.probe_port:
        await open_door("127.0.0.1", config.probe_port, handler)
    if config.metrics_port:
        await open_door(config.metrics_host, config.metrics_port, handler)

"""The agent as a process: bind what can be bound, serve until told to stop, drain."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine

from rolecall.daemons.agent.build import build
from rolecall.daemons.agent.commands import run
from rolecall.daemons.agent.config import AgentConfig, read_config
from rolecall.daemons.agent.finding import complete, find_region
from rolecall.daemons.agent.flags import IGNORED
from rolecall.daemons.agent.listeners import Listeners
from rolecall.daemons.agent.probes import open_views
from rolecall.daemons.agent.reload import reload
from rolecall.daemons.agent.upstream import ANSWER_WITHIN
from rolecall.daemons.runner import on_hangup, report, stop_on_signals, stop_with_parent
from rolecall.edges.clock import SystemClock
from rolecall.edges.memory import keep_giving_back
from rolecall.edges.telemetry import Log, configure
from rolecall.errors import RolecallError

DRAIN = ANSWER_WITHIN + 0.5
"""Seconds at the end for requests in flight: each is answered, or fails, by its own deadline."""


def main(argv: list[str] | None = None) -> int:
    """Run the agent with these arguments, or the process's own.

    Returns 0 after a clean stop, 2 where it could not run.
    """
    try:
        return run(argv, serve)
    except RolecallError as error:
        report("rolecall agent", error)
        return 2


def serve(words: list[str]) -> int:
    """Serve until told to stop; raises `RolecallError` where that cannot be."""
    config = complete(read_config(words, find_region=find_region))
    configure(sys.stderr, config.verbosity, config.log_format)
    return _loop(_serve(config))


def _loop(work: Coroutine[None, None, int]) -> int:
    import uvloop

    return uvloop.run(work)


async def _serve(config: AgentConfig) -> int:
    clock, log = SystemClock(), Log("rolecall.agent")
    stop = stop_on_signals(second_ends=True)
    if config.exit_with_stdin:
        stop_with_parent(stop)
    for flag in config.ignored:
        log.warning("agent.flag_ignored", flag=flag, why=IGNORED[flag])
    agent = build(config, clock, log)
    listeners = Listeners(config, clock, log)
    on_hangup(lambda: reload(agent, config, log))
    try:
        addresses = await listeners.open_doors(agent.corridor, agent.hot.answer, agent.metadata)
        await open_views(agent, listeners, config, clock)
        agent.start()
        pages = asyncio.create_task(keep_giving_back(clock, log), name="agent.pages")
        log.info("agent.serving", addresses=addresses, cluster=config.cluster, endpoint=config.endpoint or "aws")
        log.info("agent.signs_with", source=agent.proof.kind, where=agent.proof.where)
        await stop.wait()
        log.info("agent.draining", requests=listeners.in_flight)
        await listeners.drain(DRAIN)
        pages.cancel()
    finally:
        await agent.close()
        await listeners.close()
    log.info("agent.stopped")
    return 0

"""SIGHUP: what can be read again is, and what was remembered as failed is asked again."""

from __future__ import annotations

from rolecall.daemons.agent.build import Agent
from rolecall.daemons.agent.config import AgentConfig, read_clusters
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError


async def reload(agent: Agent, config: AgentConfig, log: Log) -> None:
    """Look at what the agent reads, and forget remembered failures; what is cached stays.

    Credentials file, tokens and clusters file are read again whenever they are needed, so this only says whether
    they can be used; a pod whose role was mended is served at its next try.
    """
    faults: list[str] = []
    try:
        await agent.proof.check()
    except RolecallError as fault:
        faults.append(fault.message)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, the agent goes on as it is
        log.crash("agent.reload_crashed", error)
        faults.append(type(error).__name__)
    try:
        clusters = None if config.clusters_file is None else len(read_clusters(config.clusters_file))
    except RolecallError as fault:
        clusters = None
        faults.append(fault.message)
    write = log.warning if faults else log.info
    forgotten = agent.cache.forget_failures()
    forgotten += 0 if agent.metadata is None else agent.metadata.granted.cache.forget_failures()
    write("agent.reloaded", failures_forgotten=forgotten, clusters=clusters, faults=faults)

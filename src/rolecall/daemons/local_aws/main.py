"""``rolecall dev``: the plane on one port, the agent as its child, all state in one directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from rolecall import __version__
from rolecall.daemons.local_aws.agent_child import AgentChild
from rolecall.daemons.local_aws.build import Readiness
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.daemons.local_aws.guard import LONGEST_BODY
from rolecall.daemons.local_aws.opening import open_front
from rolecall.daemons.runner import keep_files_private, stop_on_signals
from rolecall.edges.asgi import application
from rolecall.edges.clock import SystemClock
from rolecall.edges.log_file import log_to_file
from rolecall.edges.run_dir import sweep
from rolecall.edges.sockets import bind_tcp, own_url
from rolecall.edges.state_dir import Running, StateDir
from rolecall.edges.store.sqlite import Database
from rolecall.edges.web_server import serve


def run(config: PlaneConfig, *, started: Callable[[], None], announce: Callable[[Running], None]) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code.

    `started` is called once the log is open, `announce` once everything serves. Raises `Misconfigured`, `StateTaken`.
    """
    keep_files_private()
    state = StateDir(config.state_dir)
    state.prepare()
    with state.held():
        log_to_file(state.root / "plane.log", config.verbosity)
        sweep(state)
        started()
        return asyncio.run(_serve(config, state, announce))


async def _serve(config: PlaneConfig, state: StateDir, announce: Callable[[Running], None]) -> int:
    stop = stop_on_signals()
    listener = bind_tcp(config.listen_host, config.listen_port, flag="--listen")
    url, readiness, database = own_url(listener), Readiness(), Database(state.database)
    serving = asyncio.Event()
    try:
        front = await open_front(config, state, database, url, SystemClock(), readiness)
        app = application(front.answer, longest_body=LONGEST_BODY)
        web = asyncio.create_task(serve(app, listener, stop, serving), name="plane.web")
        agent = AgentChild(config, state, url)
        await serving.wait()
        try:
            agent_url = await agent.start()
            running = Running(os.getpid(), url, agent_url, str(config.region), str(config.account), __version__)
            state.announce(running)
            readiness.ready = True
            announce(running)
            return await _until_stopped(stop, web, agent)
        finally:
            readiness.ready = False
            state.withdraw()
            stop.set()
            await agent.stop()
            await web
    finally:
        listener.close()
        await database.close()


async def _until_stopped(stop: asyncio.Event, web: asyncio.Task[None], agent: AgentChild) -> int:
    """Wait for the signal, or for what should not have ended; the agent's end is told to the operator."""
    stopping = asyncio.create_task(stop.wait(), name="plane.stop")
    ended = asyncio.create_task(agent.wait(), name="plane.agent")
    await asyncio.wait({stopping, web, ended}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        ended.cancel()
        return 0
    return agent.report_end() if ended.done() else 1

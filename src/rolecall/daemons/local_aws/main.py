"""``rolecall dev``: the plane on one port, the agent as its child, all state in one directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing, closing

from rolecall import __version__
from rolecall.daemons.local_aws.agent_child import AgentChild, until_stopped
from rolecall.daemons.local_aws.build import Readiness
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.daemons.local_aws.guard import LONGEST_BODY
from rolecall.daemons.local_aws.imds.listening import served
from rolecall.daemons.local_aws.opening import open_plane
from rolecall.daemons.local_aws.state_files import Urls
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
    stop, clock, database = stop_on_signals(), SystemClock(), Database(state.database)
    with (
        closing(bind_tcp(config.listen_host, config.listen_port, flag="--listen")) as plane,
        closing(bind_tcp(config.imds_host, config.imds_port, flag="--imds-listen")) as imds,
    ):
        urls, readiness, serving = Urls(own_url(plane), own_url(imds)), Readiness(), asyncio.Event()
        try:
            opened = await open_plane(config, state, database, urls, clock, readiness)
            app = application(opened.front.answer, longest_body=LONGEST_BODY)
            web = asyncio.create_task(serve(app, plane, stop, serving), name="plane.web")
            agent = AgentChild(config, state, urls.plane)
            await serving.wait()
            try:
                async with served(opened.imds.answer, imds, clock), aclosing(opened.doors):
                    running = _running(config, urls, await agent.start())
                    state.announce(running)
                    readiness.ready = True
                    announce(running)
                    return await until_stopped(stop, web, agent)
            finally:
                readiness.ready = False
                state.withdraw()
                stop.set()
                await agent.stop()
                await web
        finally:
            await database.close()


def _running(config: PlaneConfig, urls: Urls, agent_url: str) -> Running:
    region, account = str(config.region), str(config.account)
    return Running(os.getpid(), urls.plane, agent_url, urls.imds, region, account, __version__)

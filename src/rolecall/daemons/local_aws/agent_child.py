"""The agent as a child process of ``rolecall dev``: the same program that runs on a node."""

from __future__ import annotations

import asyncio
import sys

from rolecall.daemons.local_aws.apiserver.pods import NODE
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.edges.child_process import ChildProcess
from rolecall.edges.state_dir import StateDir
from rolecall.errors import Misconfigured


class AgentChild:
    """Starts the agent, waits until it serves, and ends it. It also ends by itself when its stdin closes."""

    def __init__(self, config: PlaneConfig, state: StateDir, url: str) -> None:
        arguments = ["serve", "--clusters-file", str(state.clusters), "--endpoint", url]
        arguments += [
            "--region",
            config.region,
            "--bind-hosts",
            config.agent_host,
            "--port",
            str(config.agent_port),
        ]
        arguments += ["--node-name", NODE, "--probe-port", "0", "--metrics-port", "0", "--exit-with-stdin"]
        environment = {
            "AWS_SHARED_CREDENTIALS_FILE": str(state.node_credentials),
            "AWS_PROFILE": "default",
            "PYTHONPATH": ":".join(path for path in sys.path if path),
        }
        self._host = config.agent_host
        self._port = config.agent_port
        self._log = state.root / "agent.log"
        command = [sys.executable, "-m", "rolecall.daemons.agent", *arguments]
        self._process = ChildProcess(command, environment, log=self._log)

    async def start(self) -> str:
        """Return the URL of the agent's door once it serves; raises `Misconfigured` where it cannot."""
        address = await self._process.first_event("agent.serving", "addresses", timeout=15.0)
        if address is None:
            raise Misconfigured(
                f"the agent could not serve on {self._host}:{self._port}: {self._process.last_words() or 'no word'}",
                hint="choose another address with --agent-listen",
            )
        return f"http://{address}"

    async def wait(self) -> int:
        """Return the agent's exit code once it has ended."""
        return await self._process.wait()

    def report_end(self) -> int:
        """Say on stderr that the agent ended by itself, and how; return the exit code for the plane."""
        code = self._process.exit_code
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        words = self._process.last_words()
        sys.stderr.write(f"rolecall: the agent {how}{': ' + words if words else ''}; its log is {self._log}\n")
        return 1

    async def stop(self) -> None:
        """End the agent: politely, then, after a second, for certain."""
        await self._process.stop()


async def until_stopped(stop: asyncio.Event, web: asyncio.Task[None], agent: AgentChild) -> int:
    """Wait for the signal, or for what should not have ended; the agent's end is told to the operator."""
    stopping = asyncio.create_task(stop.wait(), name="plane.stop")
    ended = asyncio.create_task(agent.wait(), name="plane.agent")
    await asyncio.wait({stopping, web, ended}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        ended.cancel()
        return 0
    return agent.report_end() if ended.done() else 1

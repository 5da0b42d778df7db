"""/healthz, /readyz and /metrics, out of what the process knows of itself, never through the door.

Healthy is an agent whose loop answers and whose background work goes on: if not, restarting it may help. Ready is
one whose door is open, and that knows its node's pods where it refuses all others. Neither depends on EKS Auth: a
restart mends no upstream, and what is cached is served meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.agent.build import Agent
from rolecall.daemons.agent.config import AgentConfig
from rolecall.daemons.agent.listeners import Listeners
from rolecall.daemons.agent.metrics import families
from rolecall.edges.clock import Clock
from rolecall.edges.metrics import CONTENT_TYPE, render


class Probes:
    """Answers the probes of one agent."""

    def __init__(self, agent: Agent, listeners: Listeners) -> None:
        self._agent, self._listeners = agent, listeners

    def __call__(self, request: Request) -> Reply:
        """Return the answer to a request for one of the three."""
        match request.path:
            case "/healthz":
                return self._health()
            case "/readyz":
                return self._readiness()
            case "/metrics":
                text = render(families(self._agent, self._listeners))
                return Reply(200, text, (("content-type", CONTENT_TYPE),))
        metadata = self._agent.metadata
        page = None if metadata is None or request.method != "GET" else metadata.page(request.path)
        return page or Reply(404, b"404 page not found\n", (("content-type", "text/plain; charset=utf-8"),))

    def _health(self) -> Reply:
        faults = self._agent.faults()
        return _json(not faults, "healthy", {"faults": faults})

    def _readiness(self) -> Reply:
        doors = self._listeners
        faults = ["the agent is stopping"] if doors.stopping else []
        faults += [] if doors.addresses else ["the door is not open"]
        missing = "" if self._agent.metadata is None else self._agent.metadata.missing()
        faults += [missing] if missing else []
        unready = "" if self._agent.source_check is None else self._agent.source_check.unready()
        faults += [unready] if unready else []
        return _json(not faults, "ready", {"faults": faults, "doors": doors.addresses, "not_bound": doors.not_bound})


def _json(good: bool, word: str, more: Mapping[str, object]) -> Reply:
    body = json.dumps({word: good, **more}).encode() + b"\n"
    return Reply(200 if good else 503, body, (("content-type", "application/json"), ("cache-control", "no-store")))


async def open_views(agent: Agent, listeners: Listeners, config: AgentConfig, clock: Clock) -> None:
    """Open the probes, and the admin socket where the settings name one. Raises `Misconfigured`."""
    await listeners.open_probes(Probes(agent, listeners))
    if config.admin_socket is not None:
        from rolecall.daemons.agent.status import StatusDoor  # here: few agents have one

        await listeners.open_admin(config.admin_socket, StatusDoor(agent, listeners, clock))

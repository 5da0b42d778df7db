"""/healthz, /readyz and /metrics, in the clear: they show nobody's secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.controller.build import Controller
from rolecall.daemons.controller.config import ControllerConfig
from rolecall.daemons.controller.metrics import families
from rolecall.edges.clock import Clock
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import VIEWS
from rolecall.edges.metrics import CONTENT_TYPE, render
from rolecall.edges.sockets import bind_tcp, shown_address
from rolecall.edges.telemetry import Log


class Probes:
    """Answers the probes of one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def __call__(self, request: Request) -> Reply:
        """Return the answer to a request for one of the three."""
        match request.path:
            case "/healthz":
                faults = self._controller.faults()
                return _json(not faults, {"healthy": not faults, "faults": faults})
            case "/readyz":
                return self._readiness()
            case "/metrics":
                return Reply(200, render(families(self._controller)), (("content-type", CONTENT_TYPE),))
        return Reply(404, b"404 page not found\n", (("content-type", "text/plain; charset=utf-8"),))

    def _readiness(self) -> Reply:
        """Ready is one that knows everything, and leads or knows who does: it could take over at any moment."""
        controller = self._controller
        faults = ["the controller is stopping"] if controller.stopping else []
        faults += [
            f"not listed yet: {name}{': ' if watch.failing else ''}{watch.failing}"
            for name, watch in controller.watches.items()
            if not watch.listed.is_set()
        ]
        leader = controller.leader
        if not faults and leader is not None and not leader.holder:
            faults.append(f"nobody leads: {leader.fault or 'not asked yet'}")
        more = {"working": controller.working, "leader": leader.holder if leader is not None else ""}
        return _json(not faults, {"ready": not faults, "faults": faults, **more})


async def open_probes(controller: Controller, config: ControllerConfig, clock: Clock, log: Log) -> HttpServer:
    """Serve the probes where the settings say; raises `Misconfigured`."""
    server = HttpServer(Probes(controller), clock=clock, limits=VIEWS, log=log)
    if config.port:
        listener = bind_tcp(config.host, config.port, flag="--port")
        log.info("controller.serving", address=shown_address(listener))
        await server.listen(listener)
    return server


def _json(good: bool, content: Mapping[str, object]) -> Reply:
    body = json.dumps(content).encode() + b"\n"
    return Reply(200 if good else 503, body, (("content-type", "application/json"), ("cache-control", "no-store")))

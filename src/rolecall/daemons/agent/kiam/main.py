"""kiam's server as a process: answer agents over mTLS until told to stop."""

from __future__ import annotations

import asyncio
import sys

from rolecall.daemons.agent.kiam.build import build, settled_rules
from rolecall.daemons.agent.kiam.config import KiamServerConfig, read_server
from rolecall.daemons.agent.kiam.metrics import Views
from rolecall.daemons.runner import stop_on_signals
from rolecall.edges.certificate_files import CertificateFiles
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import VIEWS, ServerLimits
from rolecall.edges.sockets import bind_tcp, shown_address
from rolecall.edges.telemetry import Log, configure
from rolecall.mechanisms.metadata_proxy.remote.wire import LONGEST_QUESTION
from rolecall.mechanisms.metadata_proxy.settings import Kiam

DRAIN = 8.0
_LIMITS = ServerLimits(
    body=LONGEST_QUESTION, connections=4096, connections_of_one=64, requests_of_one=2000.0, idle=120.0
)


def serve(words: list[str]) -> int:
    """Serve until told to stop; raises `RolecallError` where that cannot be."""
    import uvloop

    config = read_server(words)
    configure(sys.stderr, config.verbosity, config.log_format)
    return uvloop.run(_serve(config, settled_rules(config)))


async def _serve(config: KiamServerConfig, rules: Kiam) -> int:
    clock, log = SystemClock(), Log("rolecall.kiam")
    stop = stop_on_signals(second_ends=True)
    for flag, why in config.notes:
        log.warning("kiam.flag_ignored", flag=flag, why=why)
    if not config.agents:
        log.warning("kiam.any_node", why="an agent of any node is given the role of any pod: leave out --any-node")
    parts = build(config, rules, clock, log)
    certificate = CertificateFiles(config.certificate, config.key, config.ca, parts.tls, clock=clock, log=log)
    certificate.start()
    door = HttpServer(parts.server, clock=clock, limits=_LIMITS, log=log)
    views = HttpServer(Views(parts), clock=clock, limits=VIEWS, log=log)
    looking = asyncio.create_task(certificate.run(), name="kiam.certificate")
    try:
        parts.start()
        listener = bind_tcp(config.host, config.port, flag="--bind")
        if config.metrics is not None:
            await views.listen(bind_tcp(*config.metrics, flag="--prometheus-listen-addr"))
        await door.listen(listener, parts.tls)
        log.info("kiam.serving", address=shown_address(listener), signs_with=parts.own.kind, where=parts.own.where)
        await stop.wait()
        log.info("kiam.draining", requests=door.in_flight)
        await door.close(DRAIN)
    finally:
        looking.cancel()
        await parts.close()
        await asyncio.gather(door.close(0.0), views.close(0.0), looking, return_exceptions=True)
    log.info("kiam.stopped")
    return 0

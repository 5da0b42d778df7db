"""The controller as a process: work until told to stop, then finish what is under way and give the Lease up."""

from __future__ import annotations

import sys

from rolecall.daemons.controller.build import Controller
from rolecall.daemons.controller.config import ControllerConfig, read_config
from rolecall.daemons.controller.issuing import issuing
from rolecall.daemons.controller.probes import open_probes
from rolecall.daemons.runner import report, stop_on_signals
from rolecall.edges.clock import SystemClock
from rolecall.edges.kube.client import KubeClient
from rolecall.edges.kube.config import api_server
from rolecall.edges.telemetry import Log, configure
from rolecall.errors import RolecallError

DRAIN = 10.0
"""Seconds at the end for what is under way."""


def main(argv: list[str] | None = None) -> int:
    """Run the controller with these arguments, or the process's own.

    Returns 0 after a clean stop, 1 where a part of it ended by a defect, 2 where it could not run.
    """
    try:
        config = read_config(argv)
        configure(sys.stderr, config.verbosity, config.log_format)
        return _loop(config)
    except RolecallError as error:
        report("rolecall controller", error)
        return 2


def _loop(config: ControllerConfig) -> int:
    import uvloop

    return uvloop.run(_serve(config))


async def _serve(config: ControllerConfig) -> int:
    clock, log = SystemClock(), Log("rolecall.controller")
    stop = stop_on_signals(second_ends=True)
    why = "AWSIAMRoles are read from the API server"
    here = api_server(config.kubeconfig, config.environment, why=why, url=config.apiserver, flag="--apiserver")
    client = KubeClient(here)
    controller = Controller(config, await issuing(config, clock, log), client, clock, log)
    try:
        probes = await open_probes(controller, config, clock, log)
        controller.start(stop.set)
        await stop.wait()
        log.info("controller.draining", under_way=controller.queue.running)
        await controller.drain(DRAIN)
        await probes.close(0.0)
    finally:
        await controller.close()
    log.info("controller.stopped")
    return 1 if controller.broken else 0

"""The webhook as a process: serve reviews over TLS until told to stop, then finish those under way."""

from __future__ import annotations

import sys

from rolecall.daemons.runner import on_hangup, report, stop_on_signals
from rolecall.daemons.webhook.build import build
from rolecall.daemons.webhook.config import WebhookConfig, read_config
from rolecall.daemons.webhook.listeners import Listeners
from rolecall.edges.clock import SystemClock
from rolecall.edges.telemetry import Log, configure
from rolecall.errors import RolecallError

DRAIN = 10.0
"""Seconds at the end for reviews under way; an API server waits for ten where nothing else is said."""


def main(argv: list[str] | None = None) -> int:
    """Run the webhook with these arguments, or the process's own.

    Returns 0 after a clean stop, 1 where a part of it ended by a defect, 2 where it could not run.
    """
    try:
        config = read_config(argv)
        configure(sys.stderr, config.verbosity, config.log_format)
        return _loop(config)
    except RolecallError as error:
        report("rolecall webhook", error)
        return 2


def _loop(config: WebhookConfig) -> int:
    import uvloop

    return uvloop.run(_serve(config))


async def _serve(config: WebhookConfig) -> int:
    clock, log = SystemClock(), Log("rolecall.webhook")
    stop = stop_on_signals(second_ends=True)
    for flag, why in config.notes:
        log.warning("webhook.flag_ignored", flag=flag, why=why)
    webhook = build(config, clock, log)
    listeners = Listeners(config, webhook, clock, log)
    on_hangup(webhook.reload)
    try:
        webhook.start(stop.set)
        addresses = await listeners.open()
        log.info("webhook.serving", addresses=addresses, sources=[one.name for one in webhook.gatherer.sources])
        await stop.wait()
        log.info("webhook.draining", reviews=listeners.in_flight)
        listeners.stop_being_ready()
        if not webhook.broken:
            await clock.sleep(config.shutdown_delay)
        await listeners.drain(DRAIN)
    finally:
        await webhook.close()
        await listeners.close()
    log.info("webhook.stopped")
    return 1 if webhook.broken else 0

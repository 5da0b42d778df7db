"""The webhook's listeners: reviews over TLS, probes and metrics beside it."""

from __future__ import annotations

import asyncio
from math import inf

from rolecall.daemons.webhook.build import Webhook
from rolecall.daemons.webhook.config import WebhookConfig
from rolecall.daemons.webhook.door import LONGEST_BODY
from rolecall.daemons.webhook.metrics import Counted, families
from rolecall.daemons.webhook.probes import Probes
from rolecall.edges import handshakes
from rolecall.edges.clock import Clock
from rolecall.edges.descriptors import raise_limit
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import VIEWS, ServerLimits
from rolecall.edges.sockets import Listener, bind_tcp, shown_address
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

_CONNECTIONS, _OTHER_DESCRIPTORS = 2048, 128 + handshakes.MOST
_IDLE = 120.0
"""Seconds: longer than an API server keeps a connection that it does not use (Go: 90), so that it closes first, and no
review meets a connection that is being closed."""


def review_limits(connections: int) -> ServerLimits:
    """Return the bounds of the review port. API servers are few addresses that ask much, so one may take it all."""
    return ServerLimits(
        body=LONGEST_BODY,
        idle=_IDLE,
        connections=connections,
        connections_of_one=connections,
        requests_of_one=inf,
        kept=64 << 20,
        kept_of_one=64 << 20,
    )


class Listeners:
    """Opens and closes what the webhook serves on."""

    def __init__(self, config: WebhookConfig, webhook: Webhook, clock: Clock, log: Log) -> None:
        self._config, self._webhook = config, webhook
        left = raise_limit(_CONNECTIONS + _OTHER_DESCRIPTORS) - _OTHER_DESCRIPTORS
        limits = review_limits(max(64, min(_CONNECTIONS, left)))
        self._reviews = HttpServer(webhook.reviewer, clock=clock, limits=limits, log=log)
        counted = Counted(webhook.reviewer, webhook.gatherer, webhook.certificate, self._reviews)
        self._probes = Probes(
            webhook.gatherer, webhook.certificate, webhook.tls, clock, lambda: families(counted), debug=config.debug
        )
        self._views = HttpServer(self._probes, clock=clock, limits=VIEWS, log=log)

    @property
    def in_flight(self) -> int:
        """How many reviews are being answered now."""
        return self._reviews.in_flight

    async def open(self) -> dict[str, str]:
        """Serve, and return the addresses; raises `Misconfigured`."""
        config = self._config
        reviews = _bind(config.host, config.port, "--bind-address and --port")
        found = {"reviews": shown_address(reviews)}
        await self._reviews.listen(reviews, self._webhook.tls)
        if config.metrics_port:
            views = _bind(config.host, config.metrics_port, "--bind-address and --metrics-port")
            found["metrics"] = shown_address(views)
            await self._views.listen(views)
        return found

    def stop_being_ready(self) -> None:
        """Say at /readyz that this one is going."""
        self._probes.stopping = True

    async def drain(self, seconds: float) -> None:
        """Take no more connections; give reviews under way that many seconds."""
        await self._reviews.close(seconds)

    async def close(self) -> None:
        """End all of it now."""
        await asyncio.gather(self._reviews.close(0.0), self._views.close(0.0))


def _bind(host: str, port: int, flags: str) -> Listener:
    """Return a socket on one address; on every address of both families, or of the one that is here, for none."""
    if host:
        return bind_tcp(host, port, flag=flags)
    try:
        return bind_tcp("::", port, flag=flags)
    except Misconfigured:
        return bind_tcp("0.0.0.0", port, flag=flags)  # noqa: S104 - an API server comes from anywhere

"""/healthz, /readyz and /metrics on a port of their own, in the clear: they show nobody's secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.webhook.door import text
from rolecall.daemons.webhook.gather import Gatherer
from rolecall.edges.clock import Clock
from rolecall.edges.metrics import CONTENT_TYPE, Metric, render
from rolecall.edges.server_tls import ServerTls


class Certificate(Protocol):
    """What looks after the certificate."""

    ends: float
    fault: str


class Probes:
    """Answers the probes of one webhook. `stopping` is set when it takes no more reviews."""

    def __init__(
        self,
        gatherer: Gatherer,
        certificate: Certificate,
        tls: ServerTls,
        clock: Clock,
        metrics: Callable[[], Iterable[Metric]],
        *,
        debug: bool = False,
    ) -> None:
        self._gatherer, self._certificate, self._tls, self._clock = gatherer, certificate, tls, clock
        self._metrics, self._debug = metrics, debug
        self.stopping = False

    def __call__(self, request: Request) -> Reply:
        """Return the answer to a request for one of the three."""
        match request.path:
            case "/healthz":
                return text(200, "ok")
            case "/readyz":
                return self.readiness()
            case "/metrics":
                return Reply(200, render(self._metrics()), (("content-type", CONTENT_TYPE),))
            case "/debug/alpha/cache" if self._debug:
                return _json(200, {source.name: len(source) for source in self._gatherer.sources})
        return text(404, "404 page not found\n")

    def faults(self) -> list[str]:
        """Return why no review should be sent here."""
        found = ["the webhook is stopping"] if self.stopping else []
        found += [f"not listed yet: {name}" for name in self._gatherer.missing]
        if not self._tls.ready:
            found.append(f"no certificate: {self._certificate.fault or 'not made yet'}")
        elif self._certificate.ends <= self._clock.now():
            found.append("the certificate has ended")
        return found

    def readiness(self) -> Reply:
        """Ready is a webhook that knows everything and shows a certificate that is alive; `notes` do not end that."""
        faults = self.faults()
        notes = {source.name: source.fault for source in self._gatherer.sources if source.fault}
        if self._certificate.fault:
            notes["certificate"] = self._certificate.fault
        return _json(503 if faults else 200, {"ready": not faults, "faults": faults, "notes": notes})


def _json(status: int, content: Mapping[str, object]) -> Reply:
    body = json.dumps(content).encode() + b"\n"
    return Reply(status, body, (("content-type", "application/json"), ("cache-control", "no-store")))

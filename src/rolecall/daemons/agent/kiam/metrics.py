"""What kiam's server counts, with kiam's names beside ours (legacy-proxies.md §4.7)."""

from __future__ import annotations

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.agent.kiam.build import KiamServer
from rolecall.edges.metrics import CONTENT_TYPE, NONE, Labels, Metric, histogram, render

_TEXT = (("content-type", "text/plain; charset=utf-8"),)


def families(parts: KiamServer) -> list[Metric]:
    """Return all metric families as they stand now."""
    counters, cache = parts.granted.cache.counters, parts.granted.cache
    answers: list[tuple[Labels, float]] = []
    for key, number in sorted(parts.server.answers.items()):
        what, _, outcome = key.partition(" ")
        answers.append(({"what": what, "outcome": outcome}, float(number)))
    codes: list[tuple[Labels, float]] = [({"code": code}, float(n)) for code, n in sorted(parts.calls.codes.items())]
    return [
        Metric("rolecall_kiam_answers_total", "counter", "Answers to agents.", answers),
        Metric("rolecall_kiam_pods", "gauge", "Pods that are known.", _one(len(parts.pods.pods))),
        Metric("rolecall_kiam_sts_calls_total", "counter", "Calls to STS, by code.", codes),
        histogram("rolecall_kiam_sts_call_seconds", "Seconds of a call to STS.", parts.calls.seconds),
        Metric("rolecall_kiam_events_total", "counter", "Events written.", _one(parts.events.written)),
        Metric("kiam_sts_cacheSize", "gauge", "Credentials held.", _one(len(cache))),
        Metric("kiam_sts_cache_hit_total", "counter", "Credentials that were held.", _one(counters.hits)),
        Metric("kiam_sts_cache_miss_total", "counter", "Credentials that were not.", _one(counters.misses)),
        Metric(
            "kiam_sts_issuing_errors_total",
            "counter",
            "Calls to STS that failed.",
            _one(sum(number for code, number in parts.calls.codes.items() if code != "ok")),
        ),
        Metric("kiam_k8s_dropped_pods_total", "counter", "Always 0: no pod is dropped.", _one(0)),
    ]


def _one(value: float) -> list[tuple[Labels, float]]:
    return [(NONE, float(value))]


class Views:
    """/metrics, /healthz and /readyz."""

    def __init__(self, parts: KiamServer) -> None:
        self._parts = parts

    def __call__(self, request: Request) -> Reply:
        """Return the answer."""
        match request.path:
            case "/metrics":
                return Reply(200, render(families(self._parts)), (("content-type", CONTENT_TYPE),))
            case "/healthz":
                return _said("; ".join(self._parts.faults()))
            case "/readyz":
                return _said(self._parts.watching.missing())
        return Reply(404, b"404 page not found\n", _TEXT)


def _said(fault: str) -> Reply:
    return Reply(503 if fault else 200, f"{fault or 'ok'}\n".encode(), _TEXT)

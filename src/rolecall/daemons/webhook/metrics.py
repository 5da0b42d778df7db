"""What the webhook counts, as Prometheus reads it (docs/reference/webhook.md has the table)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rolecall import __version__
from rolecall.daemons.webhook.gather import Gatherer
from rolecall.daemons.webhook.probes import Certificate
from rolecall.daemons.webhook.reviewer import Reviewer
from rolecall.daemons.webhook.sources.look_ups import LookUps
from rolecall.edges.http_server import HttpServer
from rolecall.edges.metrics import NONE, Labels, Metric, histogram

Samples = list[tuple[Labels, float]]
_METHODS = {"pod-identity": "container_credentials", "irsa": "sts_web_identity"}
_MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Counted:
    """The parts that count something."""

    reviewer: Reviewer
    gatherer: Gatherer
    certificate: Certificate
    server: HttpServer


def families(parts: Counted) -> list[Metric]:
    """Return all metric families as they stand now."""
    return [*_reviews(parts), *_sources(parts.gatherer), *_process(parts), *_of_awss_webhook(parts)]


def _one(value: float) -> Samples:
    return [(NONE, float(value))]


def _by(label: str, counts: Mapping[str, int] | Mapping[int, int]) -> Samples:
    return [({label: str(name)}, float(number)) for name, number in sorted(counts.items())]


def _reviews(parts: Counted) -> list[Metric]:
    reviewer, server = parts.reviewer, parts.server
    refusals = dict(reviewer.refusals)
    for status, number in server.refused.items():
        refusals[f"http-{status}"] = number
    return [
        Metric("rolecall_webhook_replies_total", "counter", "Replies, by status.", _by("code", reviewer.replies)),
        Metric("rolecall_webhook_refusals_total", "counter", "No review, by reason.", _by("reason", refusals)),
        Metric("rolecall_webhook_reviews_total", "counter", "Reviews, by reason.", _by("reason", reviewer.reasons)),
        Metric("rolecall_webhook_injected_total", "counter", "Pods injected.", _by("generation", reviewer.injected)),
        histogram("rolecall_webhook_review_duration_seconds", "Seconds of a review.", reviewer.took),
        Metric("rolecall_webhook_reviews_waiting", "gauge", "Reviews that wait to know.", _one(reviewer.waiting)),
        Metric(
            "rolecall_webhook_look_ups_total",
            "counter",
            "Service accounts and associations that were asked for, by source and outcome.",
            _look_ups(parts.gatherer),
        ),
        Metric(
            "rolecall_webhook_unconfirmed_total",
            "counter",
            "Answers by what was known, as nobody could be asked.",
            _one(parts.gatherer.unconfirmed),
        ),
        Metric("rolecall_webhook_connections", "gauge", "Connections open.", _one(len(server.connections))),
        Metric(
            "rolecall_webhook_handshakes_unfinished_total",
            "counter",
            "TLS handshakes that came to nothing, by why.",
            _by("reason", server.tls.unfinished if server.tls is not None else {}),
        ),
    ]


def _look_ups(gatherer: Gatherer) -> Samples:
    found: Samples = []
    for source in gatherer.sources:
        asked: LookUps[str] | None = getattr(source, "look_ups", None)
        if asked is not None:
            numbers = {"answered": asked.answered, "failed": asked.failed, "refused": asked.refused}
            found += [({"source": source.name, "outcome": word}, float(number)) for word, number in numbers.items()]
    return found


def _sources(gatherer: Gatherer) -> list[Metric]:
    listed: Samples = [({"source": one.name}, float(one.listed.is_set())) for one in gatherer.sources]
    entries: Samples = [({"source": one.name}, float(len(one))) for one in gatherer.sources]
    faulty: Samples = [({"source": one.name}, float(bool(one.fault))) for one in gatherer.sources]
    return [
        Metric("rolecall_webhook_source_listed", "gauge", "1 for a source that was listed.", listed),
        Metric("rolecall_webhook_source_entries", "gauge", "What a source holds.", entries),
        Metric("rolecall_webhook_source_faulty", "gauge", "1 where something in a source is wrong.", faulty),
    ]


def _process(parts: Counted) -> list[Metric]:
    ends = parts.certificate.ends
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        Metric(
            "rolecall_webhook_certificate_end_timestamp_seconds",
            "gauge",
            "When the certificate ends that is shown.",
            _one(ends) if ends else [],
        ),
        Metric(
            "rolecall_webhook_certificate_faulty",
            "gauge",
            "1 where the certificate cannot be renewed or spread.",
            _one(bool(parts.certificate.fault)),
        ),
        Metric(
            "rolecall_webhook_log_lines_unwritten_total",
            "counter",
            "Lines left out of the log.",
            _one(parts.reviewer.unwritten),
        ),
        Metric("rolecall_build_info", "gauge", "The version.", [({"version": __version__, "python": python}, 1.0)]),
    ]


def _of_awss_webhook(parts: Counted) -> list[Metric]:
    """Return what dashboards for AWS's webhook read; its durations are of microseconds."""
    reviewer = parts.reviewer
    where = {"verb": "POST", "path": "/mutate"}
    requests: Samples = [({**where, "code": str(code)}, number) for code, number in sorted(reviewer.replies.items())]
    methods: Samples = [({"method": _METHODS.get(kind, kind)}, n) for kind, n in sorted(reviewer.injected.items())]
    total, number = reviewer.took.total * _MICROSECONDS, reviewer.took.count
    slow: list[tuple[str, Labels, float]] = [("http_request_latencies_bucket", {**where, "le": "+Inf"}, number)]
    slow += [("http_request_latencies_sum", where, total), ("http_request_latencies_count", where, number)]
    name = "http_request_duration_microseconds"
    return [
        Metric("http_request_count", "counter", "Replies, as AWS's webhook counts.", requests),
        Metric(
            name,
            "summary",
            "Time of reviews.",
            series=[(f"{name}_sum", where, total), (f"{name}_count", where, number)],
        ),
        Metric("http_request_latencies", "histogram", "Time of reviews.", series=slow),
        Metric("pod_identity_webhook_pod_count", "counter", "Pods injected, by method.", methods),
        Metric(
            "pod_identity_webhook_missing_sa_count",
            "counter",
            "Pods whose service account was not found.",
            _one(reviewer.unknown_accounts),
        ),
        Metric("pod_identity_webhook_used", "gauge", "1 once a pod was injected.", _one(bool(reviewer.injected))),
    ]

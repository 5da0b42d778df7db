"""What the controller counts, as Prometheus reads it (docs/reference/controller.md has the table)."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rolecall import __version__
from rolecall.daemons.controller.build import Controller
from rolecall.edges.metrics import NONE, Labels, Metric, histogram

Samples = list[tuple[Labels, float]]


def families(controller: Controller) -> list[Metric]:
    """Return all metric families as they stand now."""
    return [*_issuing(controller), *_objects(controller), *_process(controller)]


def _one(value: float) -> Samples:
    return [(NONE, float(value))]


def _by(label: str, counts: Mapping[str, int]) -> Samples:
    return [({label: name}, float(number)) for name, number in sorted(counts.items())]


def _issuing(controller: Controller) -> list[Metric]:
    reconciler, calls = controller.reconciler, controller.issuing.calls
    return [
        Metric("rolecall_controller_issued_total", "counter", "Sessions issued.", _by("why", reconciler.issued)),
        Metric("rolecall_controller_refusals_total", "counter", "Refused.", _by("reason", reconciler.refusals)),
        Metric("rolecall_controller_sts_calls_total", "counter", "Calls to STS.", _by("code", calls.codes)),
        histogram("rolecall_controller_sts_duration_seconds", "Seconds of a call to STS.", calls.seconds),
    ]


def _objects(controller: Controller) -> list[Metric]:
    now = controller.clock.now()
    ends = [held.expires_at for held in controller.secrets if held.owners and held.expires_at is not None]
    next_end = _one(min(ends) - now) if ends else []
    return [
        Metric("rolecall_controller_awsiamroles", "gauge", "AWSIAMRoles.", _one(len(controller.roles))),
        Metric("rolecall_controller_secrets", "gauge", "Secrets with our labels.", _one(len(controller.secrets))),
        Metric(
            "rolecall_controller_secrets_ended",
            "gauge",
            "Secrets whose credentials have ended.",
            _one(sum(end <= now for end in ends)),
        ),
        Metric("rolecall_controller_next_end_seconds", "gauge", "Until the first of them end.", next_end),
        Metric("rolecall_controller_deleted_total", "counter", "Secrets deleted.", _one(controller.reconciler.deleted)),
        Metric(
            "rolecall_controller_unrestricted_namespaces",
            "gauge",
            "Namespaces with AWSIAMRoles that may have any role.",
            _one(len(controller.open_namespaces())),
        ),
        Metric("rolecall_controller_events_total", "counter", "Events.", _by("reason", controller.recorder.told)),
        Metric(
            "rolecall_controller_event_failures_total",
            "counter",
            "Events that could not be written, by word.",
            _by("code", controller.recorder.failures),
        ),
    ]


def _process(controller: Controller) -> list[Metric]:
    queue = controller.queue
    failures: Samples = []
    for name, watch in controller.watches.items():
        failures += [({"watch": name, "code": code}, float(n)) for code, n in sorted(watch.counters.failures.items())]
    streaming: Samples = [({"watch": name}, float(watch.streaming)) for name, watch in controller.watches.items()]
    version = {"version": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    return [
        Metric("rolecall_controller_leading", "gauge", "1 for the replica that works.", _one(controller.working)),
        Metric("rolecall_controller_looks_total", "counter", "AWSIAMRoles looked at.", _one(queue.done)),
        Metric("rolecall_controller_failures_total", "counter", "Looks that failed.", _by("code", queue.failures)),
        Metric("rolecall_controller_failing", "gauge", "AWSIAMRoles that are in back-off.", _one(queue.failing)),
        Metric("rolecall_controller_running", "gauge", "AWSIAMRoles being looked at.", _one(queue.running)),
        Metric("rolecall_controller_watch_streaming", "gauge", "1 while changes arrive.", streaming),
        Metric("rolecall_controller_watch_failures_total", "counter", "Watches that failed.", failures),
        Metric("rolecall_controller_build_info", "gauge", "Always 1.", [(version, 1.0)]),
    ]

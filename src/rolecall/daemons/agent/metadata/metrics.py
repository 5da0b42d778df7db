"""What the metadata door counts, as Prometheus reads it (docs/reference/metadata-door.md has the table)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rolecall.daemons.agent.metadata.build import MetadataDoor
from rolecall.edges.http_server import HttpServer
from rolecall.edges.metrics import NONE, Labels, Metric, histogram

Samples = list[tuple[Labels, float]]


def metadata_families(door: MetadataDoor, servers: Sequence[HttpServer] = ()) -> list[Metric]:
    """Return the families of the door, of these listeners too, and those that dashboards of the original read."""
    own = [*_door(door, servers), *_cache(door), *_view(door)]
    return own + (_of_kube2iam(door) if door.settings.dialect == "kube2iam" else [])


def _one(value: float) -> Samples:
    return [(NONE, value)]


def _by(label: str, counts: Mapping[str, int] | Mapping[int, int]) -> Samples:
    return [({label: str(name)}, float(number)) for name, number in sorted(counts.items())]


def _door(door: MetadataDoor, servers: Sequence[HttpServer]) -> list[Metric]:
    tally = door.tally
    at_once = max(0, sum(tally.replies.values()) - tally.waited.count)
    refusals = Counter(tally.refusals)
    for server in servers:
        refusals.update({f"http-{status}": number for status, number in server.refused.items()})
    settings: Samples = [({"dialect": door.settings.dialect}, 1.0)]
    unrestricted = door.settings.dialect == "kube2iam" and not door.settings.kube2iam.restrictions
    risks = {"host-role": door.settings.dialect == "host-role", "no-namespace-restrictions": unrestricted}
    risks["default-node-role"] = door.settings.discover_default
    return [
        Metric("rolecall_imds_dialect", "gauge", "1 for the dialect of the door.", settings),
        Metric(
            "rolecall_imds_open", "gauge", "1 for a setting by which pods may have more than a role of their own.",
            _by("setting", {name: int(open_) for name, open_ in risks.items()}),
        ),
        Metric("rolecall_imds_replies_total", "counter", "Replies, by status.", _by("code", tally.replies)),
        Metric("rolecall_imds_requests_total", "counter", "Requests, by what was asked for.", _by("what", tally.whats)),
        Metric("rolecall_imds_refusals_total", "counter", "Refusals, by reason.", _by("reason", refusals)),
        histogram(
            "rolecall_imds_request_duration_seconds", "Seconds until a reply; those at once are in the lowest bucket.",
            tally.waited, unmeasured=at_once,
        ),
    ]  # fmt: skip


def _cache(door: MetadataDoor) -> list[Metric]:
    cache = door.granted.cache
    counted, states = cache.counters, {"fresh": 0, "renew": 0, "stale": 0} | dict(cache.census().states)
    known = _one(0 if door.corridor.hot is None else door.corridor.hot.answers)
    ahead = _one(0 if door.prefetch is None else door.prefetch.asked)
    failures = _by("code", counted.renew_failures)
    return [
        Metric("rolecall_imds_cache_hits_total", "counter", "Answers out of the cache.", _one(counted.hits)),
        Metric("rolecall_imds_known_requests_total", "counter", "Of these, those whose very bytes were known.", known),
        Metric("rolecall_imds_cache_misses_total", "counter", "Questions not in the cache.", _one(counted.misses)),
        Metric("rolecall_imds_cache_entries", "gauge", "Sessions held, by state.", _by("state", states)),
        Metric("rolecall_imds_prefetched_total", "counter", "Roles asked for ahead of their pods.", ahead),
        Metric("rolecall_imds_evictions_total", "counter", "Sessions that gave way.", _one(counted.evictions)),
        Metric("rolecall_imds_renewals_total", "counter", "Renewals that succeeded.", _one(counted.renewals)),
        Metric("rolecall_imds_renewal_failures_total", "counter", "Renewals that failed, by code.", failures),
        Metric("rolecall_imds_sts_total", "counter", "Calls to STS, by code.", _by("code", door.calls.codes)),
        histogram("rolecall_imds_sts_duration_seconds", "Seconds of a call to STS.", door.calls.seconds),
    ]


def _view(door: MetadataDoor) -> list[Metric]:
    if door.pods is None or door.watching is None:
        return []
    streaming = {name: int(watch.streaming) for name, watch in door.watching.both.items()}
    waits = {"found": door.pods.held - door.pods.late, "nobody": door.pods.late}
    return [
        Metric("rolecall_imds_pods", "gauge", "Pods that are known.", _one(len(door.pods.pods))),
        Metric("rolecall_imds_watch_streaming", "gauge", "1 while changes arrive.", _by("watch", streaming)),
        Metric("rolecall_imds_waits_total", "counter", "Callers that were waited for.", _by("result", waits)),
    ]


def _of_kube2iam(door: MetadataDoor) -> list[Metric]:
    """Return what dashboards for kube2iam read (legacy-proxies.md §5.6), as far as there is such a thing here."""
    counted, tally = door.granted.cache.counters, door.tally
    shared = tally.refusals.get("shared-address", 0)
    handlers = {"listing": "securityCredentialsHandler", "credentials": "roleHandler"}
    requests: dict[str, int] = {}
    for what, number in tally.whats.items():
        handler = handlers.get(what, "reverseProxyHandler")
        requests[handler] = requests.get(handler, 0) + number
    late = _one(door.pods.late if door.pods is not None else 0)
    return [
        Metric("kube2iam_iam_cache_hits_total", "counter", "As kube2iam counts, for all roles.", _one(counted.hits)),
        Metric("kube2iam_iam_k8s_dup_req_count", "counter", "Requests from shared addresses.", _one(shared)),
        Metric("kube2iam_iam_k8s_pod_not_in_pod_cache", "counter", "Callers that nobody was found for.", late),
        Metric(
            "kube2iam_http_request_duration_seconds_count", "counter", "Requests by handler.", _by("handler", requests)
        ),
        Metric("kube2iam_healthcheck_status", "gauge", "1 while healthy.", _one(float(not any(door.faults())))),
        Metric("kube2iam_info", "gauge", "Rolecall in its place.", [({"version": "rolecall"}, 1.0)]),
    ]

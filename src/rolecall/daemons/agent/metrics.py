"""What the agent counts, as Prometheus reads it (docs/reference/agent.md has the table).

Labels whose values come from outside, such as an upstream's codes, are bounded in number where they are counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

from rolecall import __version__
from rolecall.daemons.agent.build import Agent
from rolecall.daemons.agent.listeners import Listeners
from rolecall.edges.metrics import NONE, Labels, Metric, histogram

Samples = list[tuple[Labels, float]]


def families(agent: Agent, listeners: Listeners) -> list[Metric]:
    """Return all metric families as they stand now."""
    door = [*_door(agent, listeners), *_connections(listeners)]
    own = [*door, *_cache(agent), *_pods(agent), *_upstream(agent), *_process(agent), *_of_awss_agent(agent)]
    if agent.metadata is None:
        return own
    from rolecall.daemons.agent.metadata.metrics import metadata_families  # here: few agents have such a door

    return own + metadata_families(agent.metadata, listeners.metadata)


def _one(value: float | None) -> Samples:
    return [] if value is None else [(NONE, value)]


def _by(label: str, counts: Mapping[str, int] | Mapping[int, int]) -> Samples:
    return [({label: str(name)}, float(number)) for name, number in sorted(counts.items())]


def _door(agent: Agent, listeners: Listeners) -> list[Metric]:
    corridor = agent.corridor
    refusals = Counter(corridor.refusals)
    for server in listeners.doors:
        refusals.update({f"http-{status}": number for status, number in server.refused.items()})
    at_once = max(0, sum(corridor.replies.values()) - corridor.waited.count)
    replies = _by("code", corridor.replies)
    return [
        Metric("rolecall_agent_replies_total", "counter", "Replies of the door, by status.", replies),
        Metric("rolecall_agent_refusals_total", "counter", "Requests refused, by reason.", _by("reason", refusals)),
        histogram(
            "rolecall_agent_request_duration_seconds",
            "Seconds until a reply; those given at once are in the lowest bucket, as zero.",
            corridor.waited,
            unmeasured=at_once,
        ),
        Metric("rolecall_agent_requests_in_flight", "gauge", "Requests being answered.", _one(listeners.in_flight)),
    ]


def _connections(listeners: Listeners) -> list[Metric]:
    doors = [*listeners.doors, *listeners.metadata]
    states = {
        "accepted": sum(server.accepted for server in doors),
        "cut-off": sum(server.cut_off for server in doors),
    }
    open_now = sum(len(server.connections) for server in doors)
    bound: Samples = [({"host": host}, 1.0) for host in listeners.bound]
    bound += [({"host": address}, 1.0) for address in listeners.metadata_bound.values()]
    bound += [({"host": host}, 0.0) for host in listeners.not_bound]
    return [
        Metric("rolecall_agent_connections", "gauge", "Connections of the doors that are open.", _one(open_now)),
        Metric(
            "rolecall_agent_connections_total", "counter", "Connections that came, and cut off.", _by("state", states)
        ),
        Metric(
            "rolecall_agent_door_bound", "gauge", "1 for an address that is served, 0 where it could not be.", bound
        ),
    ]


def _cache(agent: Agent) -> list[Metric]:
    counted, census = agent.cache.counters, agent.cache.census()
    states = {"fresh": 0, "renew": 0, "stale": 0} | dict(census.states)
    known = _one(agent.hot.answers)
    return [
        Metric("rolecall_agent_cache_hits_total", "counter", "Answers out of the cache.", _one(counted.hits)),
        Metric("rolecall_agent_known_requests_total", "counter", "Of these, those whose very bytes were known.", known),
        Metric("rolecall_agent_cache_misses_total", "counter", "Questions not in the cache.", _one(counted.misses)),
        Metric("rolecall_agent_cache_entries", "gauge", "Credentials held, by state.", _by("state", states)),
        Metric("rolecall_agent_cache_oldest_seconds", "gauge", "Age of the oldest credentials.", _one(census.oldest)),
        Metric(
            "rolecall_agent_cache_soonest_end_seconds",
            "gauge",
            "Seconds until the first credentials end that were asked for since they came.",
            _one(census.soonest_end),
        ),
        Metric("rolecall_agent_evictions_total", "counter", "Entries that gave way.", _one(counted.evictions)),
        Metric("rolecall_agent_renewals_total", "counter", "Renewals that succeeded.", _one(counted.renewals)),
        Metric(
            "rolecall_agent_renewal_failures_total",
            "counter",
            "Renewals that failed, by code.",
            _by("code", counted.renew_failures),
        ),
        Metric(
            "rolecall_agent_failures_remembered", "gauge", "Failures told again for now.", _one(agent.cache.failures)
        ),
        Metric(
            "rolecall_agent_failures_told_again_total", "counter", "Answers out of that memory.", _one(counted.denials)
        ),
        Metric(
            "rolecall_agent_renewer_crashes_total", "counter", "Defects in the renewer.", _one(counted.renewer_crashes)
        ),
    ]


def _pods(agent: Agent) -> list[Metric]:
    """Return what is known of this node's pods, and of what the agent before held for them; nothing without a watch."""
    check, warm = agent.source_check, agent.warm
    if check is None:
        return []
    found = [
        Metric("rolecall_agent_pods", "gauge", "Pods of this node that are known.", _one(len(check.pods))),
        Metric(
            "rolecall_agent_pods_streaming", "gauge", "1 while changes of them arrive, else 0.", _one(check.streaming)
        ),
        Metric(
            "rolecall_agent_source_check_total",
            "counter",
            "Tokens that did not come from their own pod, by what was found.",
            _by("reason", check.found),
        ),
    ]
    if warm is None:
        return found
    recalled = agent.cache.counters.recalled
    return [
        *found,
        Metric(
            "rolecall_agent_warm_entries", "gauge", "Credentials of the agent before, not asked for.", _one(len(warm))
        ),
        Metric("rolecall_agent_warm_recalled_total", "counter", "Of these, handed out.", _one(recalled)),
        Metric("rolecall_agent_warm_writings_total", "counter", "Writings of the file.", _by("result", warm.writings)),
    ]


def _upstream(agent: Agent) -> list[Metric]:
    calls = agent.calls
    return [
        Metric("rolecall_agent_upstream_total", "counter", "Calls to EKS Auth, by code.", _by("code", calls.codes)),
        histogram("rolecall_agent_upstream_duration_seconds", "Seconds of a call to EKS Auth.", calls.seconds),
    ]


def _process(agent: Agent) -> list[Metric]:
    unwritten = agent.corridor.unwritten + agent.audit.unwritten
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        Metric("rolecall_agent_log_lines_unwritten_total", "counter", "Lines left out of the log.", _one(unwritten)),
        Metric(
            "rolecall_build_info",
            "gauge",
            "The version that runs.",
            [({"version": __version__, "python": python}, 1.0)],
        ),
    ]


def _of_awss_agent(agent: Agent) -> list[Metric]:
    """Return what dashboards for AWS's agent read, with its meanings: its ``hit`` is a renewal that succeeded."""
    counted = agent.cache.counters
    states = {"miss": counted.misses, "hit": counted.renewals, "evicted": counted.evictions}
    errors: Samples = []
    for code, failed in sorted(counted.renew_failures.items()):
        dropped = counted.dropped.get(code, 0)
        errors += [({"type": "NonRecoverable", "code": code}, dropped)] if dropped else []
        errors += [({"type": "Recoverable", "code": code}, failed - dropped)] if failed > dropped else []
    return [
        Metric("pod_identity_http_response", "counter", "Replies of the door.", _by("code", agent.corridor.replies)),
        Metric("pod_identity_cache_state", "counter", "As AWS's agent counts.", _by("state", states)),
        Metric("pod_identity_cache_errors", "counter", "Renewals that failed, as AWS's agent counts.", errors),
    ]

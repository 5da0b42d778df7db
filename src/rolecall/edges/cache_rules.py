"""The bounds of a credential cache, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from rolecall.core.freshness import DEFAULT_RULES, FreshnessRules
from rolecall.edges.flights import DEFAULT_FLIGHTS, FlightCounters, FlightRules


@dataclass(frozen=True, slots=True)
class CacheRules:
    """The bounds. Lengths are seconds.

    `size`: entries, and failures, remembered (0: nothing is remembered, calls are still shared).
    `service_qps`, `renewals`: renewals started a second, and running at once; an entry that is nearly over and
    asked for does not wait for either. `denied_grace`: how long an entry outlives an AccessDenied, which may
    be about the node and not about the pod. `renew_first`, `renew_longest`: the pauses after failed renewals.
    """

    size: int = 2000
    freshness: FreshnessRules = DEFAULT_RULES
    service_qps: float = 3.0
    renewals: int = 8
    denied_grace: float = 900.0
    renew_first: float = 2.0
    renew_longest: float = 60.0
    flights: FlightRules = DEFAULT_FLIGHTS


@dataclass(slots=True)
class CacheCounters(FlightCounters):
    """What has happened so far. Failed renewals count by code, and once more in `dropped` where they cost the entry."""

    hits: int = 0
    misses: int = 0
    renewals: int = 0
    evictions: int = 0
    recalled: int = 0
    renewer_crashes: int = 0
    renew_failures: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

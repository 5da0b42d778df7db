"""What the agent holds and how it is, for the operator at its admin socket. Never a secret, a token or a key."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from rolecall import __version__
from rolecall.core.exchange import Reply, Request
from rolecall.daemons.agent import wire
from rolecall.daemons.agent.build import Agent
from rolecall.daemons.agent.listeners import Listeners
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_entry import Held
from rolecall.edges.clock import Clock

MOST = 1000
"""Entries that are shown: first those whose last renewal failed, then those that end first."""


class StatusDoor:
    """Answers ``GET /status`` at the admin socket of one agent."""

    def __init__(self, agent: Agent, listeners: Listeners, clock: Clock) -> None:
        self._agent, self._listeners, self._clock = agent, listeners, clock
        self._began = clock.monotonic()

    def __call__(self, request: Request) -> Reply:
        """Return the status, or 404 for anything else."""
        if request.method != "GET" or request.path != wire.PATH:
            return Reply(404, b"use GET /status\n", (("content-type", "text/plain; charset=utf-8"),))
        return Reply(200, wire.encode(self.found()), (("content-type", "application/json"),))

    def found(self) -> wire.Status:
        """Return the status as it is now."""
        doors = self._listeners
        survey = [(held, name) for name, cache in self._caches() for held in cache.survey()]
        first = heapq.nsmallest(MOST, survey, key=_urgency)
        return wire.Status(
            version=__version__,
            uptime_seconds=round(self._clock.monotonic() - self._began, 1),
            ready=bool(doors.addresses) and not doors.stopping,
            faults=self._agent.faults(),
            doors=doors.addresses,
            not_bound=doors.not_bound,
            requests_in_flight=doors.in_flight,
            totals=self._totals(),
            entries=[_entry(held, name) for held, name in first],
            entries_not_shown=len(survey) - len(first),
            signs_with=self._signs_with(),
        )

    def _signs_with(self) -> wire.SignsWith:
        proof = self._agent.proof
        expires = proof.signer.expires_at if proof.signer else None
        failure = proof.signer.failure if proof.signer else None
        return wire.SignsWith(
            source=proof.kind,
            where=proof.where,
            expires=None if expires is None else _moment(expires),
            last_error=None if failure is None else failure.message,
        )

    def _totals(self) -> wire.Totals:
        caches = [cache for _, cache in self._caches()]
        counted = [cache.counters for cache in caches]
        states, failures = Counter[str](), Counter[str]()
        for cache in caches:
            states.update(cache.census().states)
            failures.update(cache.counters.renew_failures)
        metadata = self._agent.metadata
        return wire.Totals(
            entries=states.total(),
            states=dict(states),
            hits=sum(one.hits for one in counted),
            misses=sum(one.misses for one in counted),
            renewals=sum(one.renewals for one in counted),
            renewal_failures=dict(failures),
            evictions=sum(one.evictions for one in counted),
            failures_remembered=sum(cache.failures for cache in caches),
            upstream=_both(self._agent.calls.codes, {} if metadata is None else metadata.calls.codes),
            refusals=_both(self._agent.corridor.refusals, {} if metadata is None else metadata.tally.refusals),
        )

    def _caches(self) -> list[tuple[str, CredentialCache]]:
        """Return the caches of the doors, with what the doors are called."""
        found = [("pod-identity", self._agent.cache)]
        return found if self._agent.metadata is None else [*found, ("imds", self._agent.metadata.granted.cache)]


def _both(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


def _urgency(found: tuple[Held, str]) -> tuple[bool, float]:
    held, _ = found
    return not held.last_error, held.ends_in


def _entry(held: Held, name: str) -> wire.Entry:
    return wire.Entry(
        namespace=str(held.subject.namespace) if held.subject else None,
        service_account=str(held.subject.service_account) if held.subject else None,
        association=held.association_id,
        role_session=held.role_session,
        peer=held.peer,
        state=held.state,
        age_seconds=round(held.age, 1),
        expires=_moment(held.expires_at),
        ends_in_seconds=round(held.ends_in, 1),
        renewal=held.renewal,
        renews_in_seconds=None if held.renews_in is None else round(held.renews_in, 1),
        last_error=held.last_error or None,
        hits=held.hits,
        door=name,
    )

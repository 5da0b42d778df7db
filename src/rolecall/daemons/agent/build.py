"""Puts the agent together: the door, the cache behind it, EKS Auth behind that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rolecall.core.exchange import Reply, Request
from rolecall.core.freshness import FreshnessRules
from rolecall.core.names import ClusterName
from rolecall.core.source import Ask, Source
from rolecall.daemons.agent.audit import Audit
from rolecall.daemons.agent.config import AgentConfig, read_clusters
from rolecall.daemons.agent.hot_path import HotPath
from rolecall.daemons.agent.revocations import RevocationWatch
from rolecall.daemons.agent.routing import ClusterByIssuer, OnThisNode
from rolecall.daemons.agent.upstream import (
    ANSWER_WITHIN,
    AT_ONCE,
    OF_ONE,
    WAITING_OF_ONE,
    Calls,
    Proof,
    eks_auth,
    http_client,
    proof,
    revocations,
)
from rolecall.daemons.serving import Corridor
from rolecall.edges import entropy
from rolecall.edges.aws.revocations import RevocationsClient
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_rules import CacheRules
from rolecall.edges.clock import Clock
from rolecall.edges.flights import FlightRules
from rolecall.edges.http_client import HttpClient
from rolecall.edges.limits import PerSource
from rolecall.edges.telemetry import Log
from rolecall.edges.tls import ClientTls
from rolecall.edges.turns import Turns
from rolecall.mechanisms.pod_identity import door

if TYPE_CHECKING:
    from rolecall.daemons.agent.metadata.build import MetadataDoor
    from rolecall.daemons.agent.source_check import SourceCheck
    from rolecall.daemons.agent.warm.restart import WarmRestart


_A_LITTLE = 0.25
"""Seconds: a call that fails in time says why itself; one that waited for its turn first has no longer for it."""


@dataclass(slots=True)
class Agent:
    """The parts that the process runs."""

    audit: Audit
    calls: Calls
    corridor: Corridor
    cache: CredentialCache
    http: HttpClient
    hot: HotPath
    proof: Proof
    watch: RevocationWatch | None = None
    watching: asyncio.Task[None] | None = None
    source_check: SourceCheck | None = None
    warm: WarmRestart | None = None
    metadata: MetadataDoor | None = None

    def start(self) -> None:
        """Begin the work in the background. Call it once, inside the running loop."""
        self.cache.start()
        self.proof.start()
        if self.source_check is not None:
            self.source_check.start()
        if self.warm is not None:
            self.warm.start()
        if self.metadata is not None:
            self.metadata.start()
        if self.watch is not None:
            self.watching = asyncio.create_task(self.watch.run(), name="agent.revocations")

    def faults(self) -> list[str]:
        """Return what a restart may mend: background work that does not go on. Nothing where all is well."""
        found = [self.cache.fault(), "" if self.source_check is None else self.source_check.fault()]
        if self.watching is not None and self.watching.done() and not self.watching.cancelled():
            found += ["the watch for revocations has ended"] if self.watching.exception() else []
        found += [] if self.metadata is None else self.metadata.faults()
        return [fault for fault in found if fault]

    async def close(self) -> None:
        """End it, and every call that is under way."""
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
        if self.source_check is not None:
            await self.source_check.close()
        if self.warm is not None:
            await self.warm.close()
        if self.metadata is not None:
            await self.metadata.close()
        await self.cache.close()
        await self.proof.close()
        self.http.close()


def build(config: AgentConfig, clock: Clock, log: Log) -> Agent:
    """Return the agent's parts, wired; no socket is opened yet. Raises `Misconfigured`."""
    tls = ClientTls(config.upstream_tls, log=log)
    http = http_client(config, tls)
    audit, calls = Audit(clock, log), Calls()
    known = proof(config, http, tls, clock, log)
    cache = _cache(config, _upstream(config, eks_auth(config, http, known, clock, calls)), clock, log, audit)
    allowed = config.allowed_hosts()

    def parse(request: Request) -> Ask | Reply:
        return door.parse(request, allowed_hosts=allowed, now=clock.now())

    check = _source_check(config, cache, clock, log)
    front = cache if check is None else check
    corridor = Corridor(
        parse=parse,
        source=front,
        render=door.render,
        render_error=door.render_error,
        clock=clock,
        log=log,
        held=front.held,
        refused=audit.refused,
    )
    hot = HotPath(cache, door.render, clock=clock, hit=corridor.hit, most=2 * cache.rules.size)
    corridor.learn = hot.learn if check is None else check.learning(hot.learn)
    watch = _watch(config, revocations(config, http, known), cache, clock, log)
    warm = _warm(config, cache, check, watch, clock, log)
    metadata = _metadata(config, known, clock, log)
    return Agent(
        audit, calls, corridor, cache, http, hot, known, watch, source_check=check, warm=warm, metadata=metadata
    )


def _source_check(config: AgentConfig, cache: CredentialCache, clock: Clock, log: Log) -> SourceCheck | None:
    """Return the check that the settings ask for; None where they ask for none."""
    if config.source_check == "off" or config.node is None:
        return None
    from rolecall.daemons.agent.source_check import source_check  # here: it costs memory that others need not pay

    return source_check(config, config.node, cache, clock, log)


def _metadata(config: AgentConfig, known: Proof, clock: Clock, log: Log) -> MetadataDoor | None:
    """Return the metadata door that the settings ask for; None where they ask for none."""
    if config.metadata is None:
        return None
    from rolecall.daemons.agent.metadata.build import metadata_door  # here: it costs memory that others need not pay

    return metadata_door(config, known, clock, log)


def _warm(
    config: AgentConfig,
    cache: CredentialCache,
    check: SourceCheck | None,
    watch: RevocationWatch | None,
    clock: Clock,
    log: Log,
) -> WarmRestart | None:
    """Return what keeps the cache for the next agent. Nothing is handed out that our own server could take back."""
    if config.warm_file is None or check is None:
        return None
    from rolecall.daemons.agent.warm.restart import warm_restart  # here: it costs memory that others need not pay

    return warm_restart(config, cache, check.lives, lambda: watch is None or watch.unanswered, clock, log)


def _watch(
    config: AgentConfig, ask: RevocationsClient | None, cache: CredentialCache, clock: Clock, log: Log
) -> RevocationWatch | None:
    """Return what watches our own server for revocations; None where nobody can be asked."""
    if ask is None:
        return None

    def clusters() -> Iterable[ClusterName]:
        if config.clusters_file is not None:
            return set(read_clusters(config.clusters_file).values())
        return (config.cluster,) if config.cluster is not None else ()

    return RevocationWatch(ask, cache, clusters=clusters, clock=clock, log=log)


def _upstream(config: AgentConfig, upstream: Source) -> Source:
    """Return a source with what the agent sees by itself in front of it: the cluster, another node's token, and whose
    turn it is."""
    upstream = Turns(upstream, most=AT_ONCE, of_one=OF_ONE, waiting_of_one=WAITING_OF_ONE)
    if config.clusters_file is not None:
        upstream = ClusterByIssuer(upstream, config.clusters_file)
    return upstream if config.node is None else OnThisNode(upstream, config.node)


def _cache(config: AgentConfig, upstream: Source, clock: Clock, log: Log, audit: Audit) -> CredentialCache:
    rules = CacheRules(
        size=config.cache_size if config.renewal else 0,
        service_qps=config.service_qps,
        denied_grace=config.grace,
        freshness=FreshnessRules(renewal_ttl=config.renewal or 1.0),
        flights=FlightRules(seconds=ANSWER_WITHIN + _A_LITTLE),
    )
    return CredentialCache(
        upstream,
        clock=clock,
        dice=entropy.dice,
        rules=rules,
        token_ends=door.token_ends,
        per_source=PerSource(rate=50, burst=500, clock=clock),
        log=log,
        told=audit.landed,
    )

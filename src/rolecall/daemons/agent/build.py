"""Puts the agent together: the door, the cache behind it, EKS Auth behind that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rolecall.core.exchange import Reply, Request
from rolecall.core.freshness import FreshnessRules
from rolecall.core.names import ClusterName
from rolecall.core.source import Ask, Source
from rolecall.daemons.agent.config import AgentConfig, read_clusters
from rolecall.daemons.agent.hot_path import HotPath
from rolecall.daemons.agent.revocations import RevocationWatch
from rolecall.daemons.agent.routing import ClusterByIssuer, OnThisNode
from rolecall.daemons.serving import Corridor
from rolecall.edges import entropy
from rolecall.edges.aws.eks_auth import EksAuth
from rolecall.edges.aws.revocations import RevocationsClient
from rolecall.edges.cache import CacheRules, CredentialCache
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.limits import PerSource
from rolecall.edges.telemetry import CONTENT_TYPE, Log, Metric, render
from rolecall.mechanisms.pod_identity import door, wire

UPSTREAM_THREADS = 32
"""Calls upstream at once; each costs a thread, made when it is first needed.

A node that starts 110 pods has them all served within a second where a call takes 150 ms.
"""


@dataclass(slots=True)
class Agent:
    """The parts that the process runs."""

    corridor: Corridor
    cache: CredentialCache
    http: HttpClient
    hot: HotPath
    watch: RevocationWatch | None = None
    watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the work in the background. Call it once, inside the running loop."""
        self.cache.start()
        if self.watch is not None:
            self.watching = asyncio.create_task(self.watch.run(), name="agent.revocations")

    async def close(self) -> None:
        """End it, and every call that is under way."""
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
        await self.cache.close()
        self.http.close()


def build(config: AgentConfig, clock: Clock, log: Log) -> Agent:
    """Return the agent's parts, wired; nothing is opened yet. Raises `Misconfigured`."""
    http = HttpClient(threads=UPSTREAM_THREADS, waiting=1000, proxies=config.environment)
    cache = _cache(config, _upstream(config, http, clock), clock, log)
    allowed = config.allowed_hosts()

    def parse(request: Request) -> Ask | Reply:
        return door.parse(request, allowed_hosts=allowed, now=clock.now())

    corridor = Corridor(
        parse=parse,
        source=cache,
        render=door.render,
        render_error=door.render_error,
        clock=clock,
        log=log,
        held=cache.held,
    )
    hot = HotPath(cache, door.render, clock=clock, hit=corridor.hit, most=2 * cache.rules.size)
    corridor.learn = hot.learn
    return Agent(corridor, cache, http, hot, _watch(config, http, cache, clock, log))


def _watch(
    config: AgentConfig, http: HttpClient, cache: CredentialCache, clock: Clock, log: Log
) -> RevocationWatch | None:
    """Return what watches our own server for revocations; None where AWS itself is asked, which has none."""
    if config.endpoint is None:
        return None
    ask = RevocationsClient(
        endpoint=config.endpoint,
        region=config.region,
        http=http,
        credentials=config.credentials(),
        wire=wire,
        clock=clock,
    )

    def clusters() -> Iterable[ClusterName]:
        if config.clusters_file is not None:
            return set(read_clusters(config.clusters_file).values())
        return (config.cluster,) if config.cluster is not None else ()

    return RevocationWatch(ask, cache, clusters=clusters, clock=clock, log=log)


def _dice() -> float:
    return entropy.uniform(0.0, 1.0)


def _upstream(config: AgentConfig, http: HttpClient, clock: Clock) -> Source:
    upstream: Source = EksAuth(
        region=config.region,
        http=http,
        credentials=config.credentials(),
        wire=wire,
        clock=clock,
        dice=_dice,
        endpoint=config.endpoint,
        cluster=config.cluster,
    )
    if config.clusters_file is not None:
        upstream = ClusterByIssuer(upstream, config.clusters_file)
    return upstream if config.node is None else OnThisNode(upstream, config.node)


def _cache(config: AgentConfig, upstream: Source, clock: Clock, log: Log) -> CredentialCache:
    rules = CacheRules(
        size=config.cache_size if config.renewal else 0,
        service_qps=config.service_qps,
        freshness=FreshnessRules(renewal_ttl=config.renewal or 1.0),
    )
    return CredentialCache(
        upstream,
        clock=clock,
        dice=_dice,
        rules=rules,
        token_ends=door.token_ends,
        per_source=PerSource(rate=50, burst=500, clock=clock),
        log=log,
    )


def probes(agent: Agent, serving: Callable[[], bool], request: Request) -> Reply:
    """Answer /healthz, /readyz and /metrics out of what the process knows, never through the door itself."""
    text = (("content-type", "text/plain; charset=utf-8"),)
    match request.path:
        case "/healthz":
            return Reply(200, b"ok\n", text)
        case "/readyz":
            return Reply(200, b"ok\n", text) if serving() else Reply(503, b"not serving\n", text)
        case "/metrics":
            return Reply(200, render(_metrics(agent)), (("content-type", CONTENT_TYPE),))
    return Reply(404, b"404 page not found\n", text)


def _metrics(agent: Agent) -> list[Metric]:
    counted = agent.cache.counters
    replies = [({"code": str(code)}, float(count)) for code, count in sorted(agent.corridor.replies.items())]
    upstream = [({"code": code}, float(count)) for code, count in sorted(counted.upstream.items())]
    failed = [({"code": code}, float(count)) for code, count in sorted(counted.renew_failures.items())]
    none: dict[str, str] = {}
    return [
        Metric("rolecall_agent_replies_total", "counter", "Replies of the door, by status.", replies),
        Metric("pod_identity_http_response", "counter", "The same, under the name AWS's agent has.", replies),
        Metric("rolecall_agent_cache_hits_total", "counter", "Answers out of the cache.", [(none, counted.hits)]),
        Metric(
            "rolecall_agent_known_requests_total",
            "counter",
            "Of these, those whose very bytes were known.",
            [(none, agent.hot.answers)],
        ),
        Metric(
            "rolecall_agent_cache_misses_total",
            "counter",
            "Questions not in the cache.",
            [(none, counted.misses)],
        ),
        Metric("rolecall_agent_cache_entries", "gauge", "Credentials held.", [(none, len(agent.cache))]),
        Metric("rolecall_agent_renewals_total", "counter", "Renewals that succeeded.", [(none, counted.renewals)]),
        Metric("rolecall_agent_renewal_failures_total", "counter", "Renewals that failed, by code.", failed),
        Metric("rolecall_agent_evictions_total", "counter", "Entries that gave way.", [(none, counted.evictions)]),
        Metric("rolecall_agent_upstream_total", "counter", "EKS Auth's answers, by code.", upstream),
    ]

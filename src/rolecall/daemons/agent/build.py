"""Puts the agent together: the door, the cache behind it, EKS Auth behind that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from rolecall.core.exchange import Reply, Request
from rolecall.core.freshness import FreshnessRules
from rolecall.core.names import ClusterName
from rolecall.core.source import Ask, Source
from rolecall.daemons.agent.audit import Audit
from rolecall.daemons.agent.config import AgentConfig, read_clusters
from rolecall.daemons.agent.hot_path import HotPath
from rolecall.daemons.agent.revocations import RevocationWatch
from rolecall.daemons.agent.routing import ClusterByIssuer, OnThisNode
from rolecall.daemons.serving import SECONDS, Corridor
from rolecall.edges import entropy
from rolecall.edges.aws.credential_chain import Chosen, Surroundings, choose
from rolecall.edges.aws.eks_auth import EksAuth
from rolecall.edges.aws.endpoints import eks_auth_endpoint
from rolecall.edges.aws.revocations import RevocationsClient
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_rules import CacheRules
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.limits import PerSource
from rolecall.edges.metrics import Histogram, count
from rolecall.edges.telemetry import Log
from rolecall.edges.tls import ClientTls, TlsFiles
from rolecall.mechanisms.pod_identity import door, wire

ANSWER_WITHIN = 6.0
"""Seconds in which a question upstream is answered or fails, all attempts together."""

ONE_CALL_WITHIN = 4.5
"""Seconds of one attempt: an upstream that takes three answers, late; one that is silent is asked a second time."""

UPSTREAM_THREADS = 32
"""Calls upstream at once; each costs a thread, made when it is first needed.

A node that starts 110 pods has them all served within a second where a call takes 150 ms.
"""


@dataclass(slots=True)
class Calls:
    """The calls to EKS Auth: how many by code, and how long they took."""

    codes: dict[str, int] = field(default_factory=dict)
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    def told(self, word: str, seconds: float) -> None:
        """Count one."""
        count(self.codes, word)
        self.seconds.observe(seconds)


@dataclass(slots=True)
class Agent:
    """The parts that the process runs."""

    audit: Audit
    calls: Calls
    corridor: Corridor
    cache: CredentialCache
    http: HttpClient
    hot: HotPath
    signer: Chosen
    watch: RevocationWatch | None = None
    watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the work in the background. Call it once, inside the running loop."""
        self.cache.start()
        self.signer.start()
        if self.watch is not None:
            self.watching = asyncio.create_task(self.watch.run(), name="agent.revocations")

    def faults(self) -> list[str]:
        """Return what a restart may mend: background work that does not go on. Nothing where all is well."""
        found = [self.cache.fault()]
        if self.watching is not None and self.watching.done() and not self.watching.cancelled():
            found += ["the watch for revocations has ended"] if self.watching.exception() else []
        return [fault for fault in found if fault]

    async def close(self) -> None:
        """End it, and every call that is under way."""
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
        await self.cache.close()
        await self.signer.close()
        self.http.close()


def build(config: AgentConfig, clock: Clock, log: Log) -> Agent:
    """Return the agent's parts, wired; nothing is opened yet. Raises `Misconfigured`."""
    tls = ClientTls(TlsFiles(ca=config.ca_file), log=log)
    http = HttpClient(threads=UPSTREAM_THREADS, waiting=1000, proxies=config.environment, tls=tls)
    audit, calls = Audit(clock, log), Calls()
    signer = _signer(config, http, tls, clock, log)
    cache = _cache(config, _upstream(config, http, signer, clock, calls), clock, log, audit)
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
        refused=audit.refused,
    )
    hot = HotPath(cache, door.render, clock=clock, hit=corridor.hit, most=2 * cache.rules.size)
    corridor.learn = hot.learn
    watch = _watch(config, http, signer, cache, clock, log)
    return Agent(audit, calls, corridor, cache, http, hot, signer, watch)


def _watch(
    config: AgentConfig, http: HttpClient, signer: Chosen, cache: CredentialCache, clock: Clock, log: Log
) -> RevocationWatch | None:
    """Return what watches our own server for revocations; None where AWS itself is asked, which has none."""
    if config.endpoint is None:
        return None
    ask = RevocationsClient(
        endpoint=config.endpoint,
        region=config.region,
        http=http,
        credentials=signer,
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


def _signer(config: AgentConfig, http: HttpClient, tls: ClientTls, clock: Clock, log: Log) -> Chosen:
    """Return the agent's own credentials. IMDS and containers are asked without a proxy, in threads of their own."""
    return choose(
        config.environment,
        Surroundings(
            region=config.region,
            node=config.node,
            http=http,
            near=lambda: HttpClient(threads=2, waiting=8, tls=tls),
            clock=clock,
            dice=_dice,
            log=log,
            doors=[(host, config.port) for host in config.hosts],
        ),
    )


def _upstream(config: AgentConfig, http: HttpClient, signer: Chosen, clock: Clock, calls: Calls) -> Source:
    upstream: Source = EksAuth(
        region=config.region,
        http=http,
        credentials=signer,
        wire=wire,
        clock=clock,
        dice=_dice,
        endpoint=config.endpoint or eks_auth_endpoint(config.region, config.environment),
        cluster=config.cluster,
        attempt_timeout=ONE_CALL_WITHIN,
        deadline=ANSWER_WITHIN,
        told=calls.told,
    )
    if config.clusters_file is not None:
        upstream = ClusterByIssuer(upstream, config.clusters_file)
    return upstream if config.node is None else OnThisNode(upstream, config.node)


def _cache(config: AgentConfig, upstream: Source, clock: Clock, log: Log, audit: Audit) -> CredentialCache:
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
        told=audit.landed,
    )

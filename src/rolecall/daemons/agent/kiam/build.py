"""Puts kiam's server together: the pods by a watch, the rules of kiam, the cache, STS behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rolecall.daemons.agent.kiam.agents import Agents
from rolecall.daemons.agent.kiam.config import KiamServerConfig
from rolecall.daemons.agent.kiam.events import Events
from rolecall.daemons.agent.kiam.server import NodeOf, Server
from rolecall.daemons.agent.metadata.discover import discovered
from rolecall.daemons.agent.metadata.granted import Granted, sts_source
from rolecall.daemons.agent.metadata.pods_by_ip import PodsByIp
from rolecall.daemons.agent.metadata.prefetch import Prefetch
from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.daemons.agent.metadata.tally import Tally
from rolecall.daemons.agent.metadata.watching import Watching, kube_client
from rolecall.daemons.agent.upstream import ANSWER_WITHIN, Calls
from rolecall.edges import entropy
from rolecall.edges.aws.attempts import Calling
from rolecall.edges.aws.chained import chained
from rolecall.edges.aws.credential_chain import Chosen, Surroundings, choose
from rolecall.edges.aws.endpoints import sts_endpoint
from rolecall.edges.aws.sts import AssumeRole
from rolecall.edges.certificate_files import read_pem
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.settings import Kiam

_CACHE, _QPS, _THREADS = 20_000, 20.0, 32
_SERVER_SESSION = "kiam-server"


@dataclass(slots=True)
class KiamServer:
    """The parts that the process runs."""

    server: Server
    pods: PodsByIp
    granted: Granted
    watching: Watching
    events: Events
    tally: Tally
    calls: Calls
    own: Chosen
    https: HttpClient
    tls: ServerTls
    prefetch: Prefetch | None = None

    def start(self) -> None:
        """Begin the work in the background. Call it once, inside the running loop."""
        self.granted.cache.start()
        self.own.start()
        self.watching.start()
        if self.prefetch is not None:
            self.prefetch.begin()

    def faults(self) -> list[str]:
        """Return what a restart may mend."""
        return [fault for fault in (self.granted.cache.fault(), self.watching.fault()) if fault]

    async def close(self) -> None:
        """End it, and every call that is under way."""
        if self.prefetch is not None:
            await self.prefetch.close()
        await self.events.close()
        await self.watching.close()
        await self.granted.cache.close()
        await self.own.close()
        self.https.close()


def build(config: KiamServerConfig, rules: Kiam, clock: Clock, log: Log) -> KiamServer:
    """Return the server's parts, wired. Raises `Misconfigured`."""
    client = kube_client(config.kubeconfig, config.environment, "kiam's server")
    https = HttpClient(at_once=_THREADS, waiting=1000, proxies=config.environment)
    calls, tally, events = Calls(), Tally(clock, log), Events(client, clock, log)
    own, assume = _assume(config, https, calls, clock, log)
    granted = Granted(sts_source(assume), size=_CACHE, qps=_QPS, clock=clock, log=log, told=tally.landed)
    settings = MetadataSettings(dialect="kiam", kiam=rules)
    pods = PodsByIp(clock, granted.forget, needs_namespace=True)
    watching = Watching(client, pods, settings.keys(), node=None, cluster=None, clock=clock, log=log)
    node_of = _node_of(config, Agents(client, config.agents, config.audiences, _node_of_pod(pods), clock))
    server = Server(rules, pods, granted, node_of, log=log, denied=events, missing=watching.missing)
    tls = ServerTls(client_ca=read_pem(config.ca))
    parts = KiamServer(server, pods, granted, watching, events, tally, calls, own, https, tls)
    if config.prefetch > 0:
        parts.prefetch = Prefetch(pods, KiamDialect(rules), granted, clock, config.prefetch)
        pods.come = parts.prefetch.come
    return parts


def settled_rules(config: KiamServerConfig) -> Kiam:
    """Return the rules with the base ARN, found at the instance's own service where that is asked for.

    Raises `Misconfigured`. Call it before there is a loop.
    """
    settings = MetadataSettings(dialect="kiam", kiam=config.rules, discover_base=config.autodetect)
    return discovered(settings, config.environment).kiam


def _node_of(config: KiamServerConfig, agents: Agents) -> NodeOf:
    async def any_node(_authorization: str) -> None:
        return None

    return agents.node_of if config.agents else any_node


def _node_of_pod(pods: PodsByIp) -> Callable[[str], str | None]:
    def node(uid: str) -> str | None:
        found = pods.pods.get(uid)
        return found.pod.node if found is not None and found.pod.running else None

    return node


def _assume(
    config: KiamServerConfig, https: HttpClient, calls: Calls, clock: Clock, log: Log
) -> tuple[Chosen, AssumeRole]:
    """Return the server's own credentials, and what assumes roles with them or with the role that it assumes first."""
    if config.region is None:
        raise Misconfigured("the region of STS is not known", hint="give --region, or set AWS_REGION")
    around = Surroundings(
        region=config.region,
        node=None,
        http=https,
        near=lambda: HttpClient(at_once=2, waiting=8),
        clock=clock,
        dice=entropy.dice,
        log=log,
    )
    own = choose(config.environment, around)

    endpoint = sts_endpoint(config.region, config.environment)
    calling = Calling(http=https, clock=clock, dice=entropy.dice, deadline=ANSWER_WITHIN, told=calls.told)
    assuming = partial(AssumeRole, endpoint, region=config.region, calling=calling, log=log)
    if config.assume is None:
        return own, assuming(credentials=own)
    first = chained(assuming(credentials=own), config.assume, _SERVER_SESSION, clock=clock, dice=entropy.dice, log=log)
    return own, assuming(credentials=first)

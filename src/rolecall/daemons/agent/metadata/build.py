"""Puts the metadata door together: who asks, the corridor, the cache behind it, STS behind that."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rolecall.core.exchange import Reply, Request
from rolecall.core.names import ClusterName
from rolecall.core.secrets import Secret
from rolecall.core.source import Source
from rolecall.daemons.agent.config import AgentConfig
from rolecall.daemons.agent.metadata.corridor import MetadataCorridor, Terms
from rolecall.daemons.agent.metadata.documents import Documents, NodeDocuments, NoDocuments
from rolecall.daemons.agent.metadata.granted import Granted, nothing_assumed, sts_source
from rolecall.daemons.agent.metadata.pages import HEALTH, KIAM_HEALTH, PING, STORE, health, kiam_health, store
from rolecall.daemons.agent.metadata.pods_by_ip import PodsByIp
from rolecall.daemons.agent.metadata.prefetch import Prefetch
from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.daemons.agent.metadata.tally import Tally
from rolecall.daemons.agent.metadata.watching import Watching, kube_client
from rolecall.daemons.agent.metadata.whose import Whose
from rolecall.daemons.agent.upstream import ANSWER_WITHIN, Calls, Proof, near_client, signer
from rolecall.edges import entropy
from rolecall.edges.aws.attempts import Calling
from rolecall.edges.aws.credential_chain import Chosen
from rolecall.edges.aws.endpoints import partition_of, sts_endpoint
from rolecall.edges.aws.imds import Imds, imds_endpoint
from rolecall.edges.aws.sts import AssumeRole
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.http_server import Quick
from rolecall.edges.telemetry import Log
from rolecall.edges.tls import ClientTls, TlsFiles
from rolecall.errors import Misconfigured
from rolecall.mechanisms.imds.door import HOSTS
from rolecall.mechanisms.metadata_proxy.issue import Assume

if TYPE_CHECKING:
    from rolecall.daemons.agent.kiam.remote import KiamServer
    from rolecall.daemons.agent.metadata.by_docker import ByDocker
    from rolecall.daemons.agent.metadata.node_role import NodeRole, NodeRoleDoor

_THREADS = 16


@dataclass(slots=True)
class MetadataDoor:
    """The parts of the door. `own` is the signer that no other part of the agent has."""

    settings: MetadataSettings
    corridor: MetadataCorridor
    granted: Granted
    tally: Tally
    calls: Calls
    documents: Documents
    pods: PodsByIp | None = None
    watching: Watching | None = None
    prefetch: Prefetch | None = None
    docker: ByDocker | None = None
    own: Chosen | None = None
    https: list[HttpClient] = field(default_factory=list)
    server: KiamServer | None = None
    node_role: NodeRole | None = None
    node_role_door: NodeRoleDoor | None = None

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer a request. kube2iam's probe is the kubelet's, which is no pod and names the service otherwise."""
        if request.path == HEALTH and request.method == "GET" and self.settings.dialect == "kube2iam":
            return health(self.settings.hosts, self.documents)
        if request.path in (PING, KIAM_HEALTH) and self.settings.dialect == "kiam":
            return kiam_health(request, self.documents, self.server)
        if self.node_role_door is not None:
            return self.node_role_door(request)
        return self.corridor(request)

    @property
    def quick(self) -> Quick | None:
        """What is asked first, of known requests; None at a door that knows none."""
        return None if self.corridor.hot is None else self.corridor.hot.answer

    def page(self, path: str) -> Reply | None:
        """Return a page for the agent's own port; None where there is no such."""
        if path == STORE and self.settings.debug and self.pods is not None:
            return store(self.settings.kube2iam, self.pods)
        return None

    def warn(self, log: Log) -> None:
        """Say what pods may have beside a role of their own."""
        settings = self.settings
        if settings.dialect == "kube2iam" and not settings.kube2iam.restrictions:
            why = "any pod may name any role that this agent may assume"
            log.warning("imds.no_namespace_restrictions", why=why, hint="add --namespace-restrictions")
        if settings.dialect == "host-role":
            why = "every pod is given the node's own role: any of them is the node"
            log.warning("imds.host_role", why=why, hint="give pods roles of their own, and use --dialect deny")
        if settings.discover_default:
            role = settings.kube2iam.default_role
            why = "the node's own role is given to every pod without an annotation"
            log.warning("imds.default_is_the_nodes_role", role=role, why=why, hint="use --default-role")

    def start(self) -> None:
        """Begin the work in the background. Call it once, inside the running loop."""
        self.granted.cache.start()
        if self.own is not None:
            self.own.start()
        if self.prefetch is not None:
            self.prefetch.begin()
        if self.watching is not None:
            self.watching.start()
        if self.docker is not None:
            self.docker.start()

    def faults(self) -> list[str]:
        """Return what a restart may mend."""
        return [self.granted.cache.fault(), *(part.fault() for part in (self.watching, self.docker) if part)]

    def missing(self) -> str:
        """Return why the door cannot serve everybody yet; an empty text where it can."""
        part = self.watching or self.docker
        return "" if part is None else part.missing()

    async def close(self) -> None:
        """End it, and every call that is under way."""
        if self.watching is not None:
            await self.watching.close()
        if self.docker is not None:
            await self.docker.close()
        if self.prefetch is not None:
            await self.prefetch.close()
        if self.node_role is not None:
            await self.node_role.close()
        await self.granted.cache.close()
        if isinstance(self.documents, NodeDocuments):
            await self.documents.close()
        if self.own is not None:
            await self.own.close()
        for http in self.https:
            http.close()


def metadata_door(config: AgentConfig, proof: Proof, clock: Clock, log: Log) -> MetadataDoor | None:
    """Return the door that the settings ask for; None for none. Raises `Misconfigured`."""
    settings = config.metadata
    if settings is None:
        return None
    settings = settings.in_partition(partition_of(config.region or ""))
    https: list[HttpClient] = []
    calls, tally = Calls(), Tally(clock, log)
    source, own, server = _source(config, settings, proof, https, calls, clock, log)
    granted = Granted(source, size=config.cache_size, qps=config.service_qps, clock=clock, log=log, told=tally.landed)
    imds = _imds(config, settings, https, log)
    documents = _documents(config, settings, imds, clock)
    pods, watching = _by_pods(config, settings, granted, clock, log)
    docker = _docker(settings, imds, granted, clock, log)
    whose: Whose | None = docker.whose if docker is not None else server or pods
    terms = Terms(Secret(entropy.token_hex(32)), settings.required, settings.hops, _hosts(settings))
    corridor = MetadataCorridor(settings.manners(), whose, granted, documents, terms, clock=clock, tally=tally)
    door = MetadataDoor(
        settings,
        corridor,
        granted,
        tally,
        calls,
        documents,
        pods,
        watching,
        docker=docker,
        own=own,
        https=https,
        server=server,
    )
    if server is not None:
        corridor.denied = server.report
        server.learned = lambda rules: corridor.speak(settings.kiam_manners(rules))
    if settings.dialect == "host-role":
        _give_the_nodes_role(door, config, imds, terms, clock, log)
    door.prefetch = _prefetch(settings, pods, corridor, clock)
    door.warn(log)
    return door


def _give_the_nodes_role(
    door: MetadataDoor, config: AgentConfig, imds: Imds | None, terms: Terms, clock: Clock, log: Log
) -> None:
    from rolecall.daemons.agent.metadata.node_role import NodeRole, NodeRoleDoor  # here: no other door needs it

    if imds is None:
        raise Misconfigured("--dialect host-role has no node to ask", hint="unset AWS_EC2_METADATA_DISABLED")
    door.node_role = NodeRole(imds, door.documents, config.node or "this node", clock, log)
    allowed = door.settings.of_the_node()
    door.node_role_door = NodeRoleDoor(door.node_role, door.documents, terms, allowed, clock, door.tally)


def _prefetch(
    settings: MetadataSettings, pods: PodsByIp | None, corridor: MetadataCorridor, clock: Clock
) -> Prefetch | None:
    if pods is None or settings.prefetch <= 0:
        return None
    found = Prefetch(pods, corridor.dialect, corridor.granted, clock, settings.prefetch)
    pods.come = found.come
    return found


def _source(
    config: AgentConfig,
    settings: MetadataSettings,
    proof: Proof,
    https: list[HttpClient],
    calls: Calls,
    clock: Clock,
    log: Log,
) -> tuple[Source, Chosen | None, KiamServer | None]:
    """Return who issues, with the signer that is made for it alone, and kiam's server where it is one."""
    server = _kiam_server(config, settings, https, log)
    if server is not None:
        return server.credentials, None, server
    if not settings.assumes:
        return sts_source(nothing_assumed), None, None
    tls = ClientTls(TlsFiles(ca=config.ca_file), log=log)
    http = HttpClient(at_once=_THREADS, waiting=1000, proxies=config.environment, tls=tls)
    https.append(http)
    own = None if proof.signer else signer(config, http, clock, log)
    return sts_source(_assume_role(config, http, proof.signer or own, clock, calls, log)), own, None


def _kiam_server(
    config: AgentConfig, settings: MetadataSettings, https: list[HttpClient], log: Log
) -> KiamServer | None:
    found = settings.kiam_server
    if found is None:
        return None
    from rolecall.daemons.agent.kiam.remote import KiamServer  # here: few doors have one

    http = HttpClient(at_once=_THREADS, waiting=1000, tls=ClientTls(found.tls, log=log))
    https.append(http)
    return KiamServer(found.url, http, config.cluster or ClusterName.parse("here"), found.token_file)


def _assume_role(
    config: AgentConfig, http: HttpClient, signs: Chosen | None, clock: Clock, calls: Calls, log: Log
) -> Assume:
    assert signs is not None, "proof or own is there where roles are assumed"
    assert config.region is not None, "read_config finds it where roles are assumed"
    return AssumeRole(
        sts_endpoint(config.region, config.environment),
        region=config.region,
        credentials=signs,
        calling=Calling(http=http, clock=clock, dice=entropy.dice, deadline=ANSWER_WITHIN, told=calls.told),
        log=log,
    )


def _imds(config: AgentConfig, settings: MetadataSettings, https: list[HttpClient], log: Log) -> Imds | None:
    """Return the node's own service; None where it has none."""
    url = settings.upstream or imds_endpoint(config.environment)
    if url is None or settings.docker.mocked:
        return None
    near = near_client(config, log)
    https.append(near)
    return Imds(url, near)


def _documents(config: AgentConfig, settings: MetadataSettings, imds: Imds | None, clock: Clock) -> Documents:
    if settings.docker.mocked:
        from rolecall.daemons.agent.metadata.by_docker import MockedDocuments

        return MockedDocuments(settings.docker.mocked, config.region or "")
    return NoDocuments() if imds is None else NodeDocuments(imds, clock)


def _docker(settings: MetadataSettings, imds: Imds | None, granted: Granted, clock: Clock, log: Log) -> ByDocker | None:
    if settings.dialect != "metadataproxy":
        return None
    from rolecall.daemons.agent.metadata.by_docker import by_docker  # here: no other door needs it

    return by_docker(settings.docker, imds, granted.forget, clock, log)


def _by_pods(
    config: AgentConfig, settings: MetadataSettings, granted: Granted, clock: Clock, log: Log
) -> tuple[PodsByIp | None, Watching | None]:
    if not settings.watches_pods:
        return None, None
    if config.node is None and not settings.every_node:
        raise Misconfigured(
            f"--dialect {settings.dialect} needs to know which node this is",
            hint="set --node-name, or NODE_NAME by the downward API (spec.nodeName)",
        )
    client = kube_client(config.kubeconfig, config.environment, f"--dialect {settings.dialect}")
    pods = PodsByIp(clock, granted.forget, needs_namespace=settings.asks_namespaces)
    watching = Watching(client, pods, settings.keys(), node=config.node, cluster=config.cluster, clock=clock, log=log)
    return pods, watching


def _hosts(settings: MetadataSettings) -> frozenset[str]:
    """Return the Host values that the door answers to: the service's own, and where it is bound."""
    bound = set(settings.hosts) - {"0.0.0.0", "::"}  # noqa: S104 - they name no host
    return HOSTS | bound | ({"localhost"} if bound & {"127.0.0.1", "::1"} else set())

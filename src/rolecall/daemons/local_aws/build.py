"""Puts the plane together: which face answers for which service, over which state."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.exchange import Reply, Request
from rolecall.core.tokens.keys import Keyset
from rolecall.daemons.local_aws import eks, iam, sts
from rolecall.daemons.local_aws.apiserver.face import ApiserverFace
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.daemons.local_aws.eks.auth_face import EksAuthFace
from rolecall.daemons.local_aws.eks.clusters import Clusters
from rolecall.daemons.local_aws.faces import Face, QueryFace, RestFace
from rolecall.daemons.local_aws.front import Front
from rolecall.daemons.local_aws.guard import Guard
from rolecall.daemons.local_aws.hosting import HostedWorld
from rolecall.daemons.local_aws.imds.pod_doors import PodDoors
from rolecall.daemons.local_aws.issuers import Issuers
from rolecall.daemons.local_aws.operations import World
from rolecall.daemons.local_aws.sts.web_identity import WebIdentity
from rolecall.daemons.server.agents import Agents
from rolecall.daemons.server.associations import Associations
from rolecall.daemons.server.eks_auth import eks_auth
from rolecall.edges import entropy
from rolecall.edges.clock import Clock
from rolecall.edges.oidc_keys import OidcKeys
from rolecall.edges.store.sqlite import Database

READY_PATH = "/_rolecall/readyz"


@dataclass(slots=True)
class Readiness:
    """Whether everything serves: the plane's port and the agent's."""

    ready: bool = False


def world_of(config: PlaneConfig, url: str) -> World:
    """Return what is true of the whole plane."""
    return World(
        account=config.account,
        partition=config.partition,
        region=config.region,
        url=url,
        max_session_seconds=config.max_session_seconds,
        max_token_seconds=config.max_token_seconds,
        trust_policy_quota=config.trust_policy_quota,
    )


async def build(
    config: PlaneConfig,
    world: World,
    database: Database,
    issuers: Issuers,
    clock: Clock,
    readiness: Readiness,
    doors: PodDoors,
) -> Front:
    """Return the front, with everything behind it, over a database that is open and filled."""
    clusters = Clusters(issuers, database)
    await clusters.load()
    hosted = HostedWorld(database, world, issuers, clock)
    remote_keys = OidcKeys(clock=clock, allow_private=frozenset(config.allow_private_issuers))

    async def fetch_keys(issuer: str, kid: str | None) -> Keyset:
        own = issuers.keyset(issuer)
        return own if own is not None else await remote_keys.keyset(issuer, kid=kid)

    def open_pages(request: Request) -> Reply | None:
        if request.path == READY_PATH:
            status, text = (200, b"ok\n") if readiness.ready else (503, b"starting\n")
            return Reply(status, text, (("content-type", "text/plain; charset=utf-8"),))
        return issuers.page(request)

    faces: dict[str, Face] = {
        "sts": QueryFace("sts", sts.operations(WebIdentity(database, fetch_keys))),
        "iam": QueryFace("iam", iam.OPERATIONS),
        "eks": RestFace("eks", eks.operations(clusters, Associations(hosted.associations, hosted))),
        "eks-auth": EksAuthFace(
            eks_auth(hosted, hosted.assume), hosted.associations.revoked, Agents(hosted, config.agent_accounts)
        ),
        "rolecall": ApiserverFace(issuers, node_uid=entropy.uuid4(), doors=doors),
    }
    return Front(
        guard=Guard((*config.allow_hosts, world.url.removeprefix("http://").rpartition(":")[0])),
        faces=faces,
        open_pages=open_pages,
        database=database,
        clock=clock,
        world=world,
    )

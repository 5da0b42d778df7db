"""The plane as the world of the product's own server: clusters, keys, pods and roles, out of its database.

`rolecall.daemons.server` is what runs in a cluster; here the plane hosts it, and plays AWS to it.
"""

from __future__ import annotations

from rolecall.core.grant import Hop
from rolecall.core.names import ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.policy.trust import admits_service
from rolecall.core.records import Association, ClusterFacts, PodFacts
from rolecall.core.source import Issued
from rolecall.core.tokens.keys import Keyset
from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.apiserver import pods
from rolecall.daemons.local_aws.authenticate import session_by_key
from rolecall.daemons.local_aws.eks.association_store import SqliteAssociations
from rolecall.daemons.local_aws.eks.clusters import cluster_facts
from rolecall.daemons.local_aws.iam.records import find_role, trust_of
from rolecall.daemons.local_aws.issuers import Issuers
from rolecall.daemons.local_aws.operations import World
from rolecall.daemons.local_aws.principals import Principal, Service
from rolecall.daemons.local_aws.sts.assume_role import assume
from rolecall.edges import entropy
from rolecall.edges.clock import Clock
from rolecall.edges.store.sqlite import Database, Tx
from rolecall.errors import ServiceError

# Which principal the roles trust belongs to the issuance backend: AWS's own service principal here.
SERVICE_PRINCIPAL = "pods.eks.amazonaws.com"


class HostedWorld:
    """What `server.associations` and `server.eks_auth` ask of their surroundings."""

    def __init__(self, database: Database, world: World, issuers: Issuers, clock: Clock) -> None:
        self._database = database
        self._world = world
        self._issuers = issuers
        self._clock = clock
        self.associations = SqliteAssociations(database, world)

    def now(self) -> float:
        """Return the time."""
        return self._clock.now()

    def new_id(self) -> str:
        """Return a fresh association id."""
        return ids.association_id()

    def session_id(self) -> str:
        """Return a fresh UUID."""
        return entropy.uuid4()

    async def cluster(self, name: ClusterName) -> ClusterFacts | None:
        """Return a cluster."""
        row = await self._database.run(
            lambda tx: tx.execute("SELECT * FROM clusters WHERE name = ?", (name,)).fetchone()
        )
        return None if row is None else cluster_facts(self._world, row)

    async def keys(self, cluster: ClusterFacts) -> Keyset:
        """Return the keys of the cluster's issuer, which is this process."""
        return self._issuers.keyset(cluster.issuer) or Keyset({})

    async def pod(self, cluster: ClusterName, uid: str) -> PodFacts | None:
        """Return a pod by its UID."""
        return await self._database.run(lambda tx: pods.facts(tx, cluster, uid, self._clock.now()))

    async def association(
        self, cluster: ClusterName, namespace: Namespace, service_account: ServiceAccountName
    ) -> Association | None:
        """Return the association of a service account."""
        return await self.associations.of_account(cluster, namespace, service_account)

    async def refuse_role(self, role: RoleArn) -> None:
        """Raise `ServiceError` for a role that does not exist, or whose trust can never admit EKS.

        The second is Rolecall's own: AWS accepts such an association, and every pod is denied later.
        """
        found = await self._database.run(lambda tx: find_role(tx, role))
        if found is None:
            raise ServiceError("InvalidParameterException", f"Role provided in the request does not exist: {role}")
        if not admits_service(trust_of(found), SERVICE_PRINCIPAL, ("sts:AssumeRole", "sts:TagSession")):
            raise ServiceError(
                "InvalidParameterException",
                f"Trust policy of role {role} is not valid for Pod Identity: it must allow sts:AssumeRole and "
                f"sts:TagSession to the service {SERVICE_PRINCIPAL}",
            )

    async def assume(self, hop: Hop, before: Issued | None) -> Issued:
        """Assume a role as EKS, or with the session issued before."""
        now = self._clock.now()

        def work(tx: Tx) -> Issued:
            principal: Principal = Service(SERVICE_PRINCIPAL, self._world.account, self._world.partition)
            if before is not None:
                principal = session_by_key(tx, before.credentials.access_key_id)
            return assume(tx, self._world, principal, hop, now).issued()

        return await self._database.run(work)

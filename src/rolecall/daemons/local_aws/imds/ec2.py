"""EC2, behind the metadata service: which role the instance has, and sessions of that."""

from __future__ import annotations

from rolecall.core.grant import Hop
from rolecall.core.session import SessionSpec
from rolecall.core.source import Issued
from rolecall.daemons.local_aws.authenticate import session_by_key
from rolecall.daemons.local_aws.iam.records import Role
from rolecall.daemons.local_aws.imds.held import Held, HeldSessions
from rolecall.daemons.local_aws.imds.instance import Instance, node_role
from rolecall.daemons.local_aws.operations import World
from rolecall.daemons.local_aws.principals import Service
from rolecall.daemons.local_aws.sts.assume_role import assume
from rolecall.edges.clock import Clock
from rolecall.edges.store.sqlite import Database, Tx
from rolecall.errors import ServiceError, Upstream, UpstreamAnswered

LASTS = 21_600  # seconds; about what EC2 gives, whatever the role's own maximum is


class Ec2:
    """What EC2 does for its instance. `sessions` holds what is shown."""

    def __init__(self, instance: Instance, world: World, database: Database, clock: Clock) -> None:
        self.instance, self.world, self.clock = instance, world, clock
        self.sessions = HeldSessions(database, clock)
        self._database = database

    async def role(self) -> Role | None:
        """Return the instance's role, if it has one."""
        return await self._database.run(node_role)

    async def session(self, role: Role) -> Held:
        """Return a session of the role under the instance's id.

        Raises `ServiceError` AccessDenied where the trust policy does not admit EC2.
        """
        ec2 = Service("ec2.amazonaws.com", self.world.account, self.world.partition)
        hop = Hop(role.arn, SessionSpec(self.instance.id, LASTS))

        def make(tx: Tx) -> Issued:
            return assume(tx, self.world, ec2, hop, self.clock.now()).issued()

        return await self.sessions.of(role.role_id, make)

    async def assumed(self, pod_uid: str, hop: Hop) -> Held:
        """Return a pod's session of a role, which a proxy on the node assumes with the node's own.

        Raises `Upstream` where the node has no role, `UpstreamAnswered` with what STS says.
        """
        role = await self.role()
        if role is None:
            raise Upstream("the node has no role by which another could be assumed")
        key = (pod_uid, str(hop.role), hop.session.name, hop.session.external_id)
        try:
            node = (await self.session(role)).issued.credentials.access_key_id

            def make(tx: Tx) -> Issued:
                return assume(tx, self.world, session_by_key(tx, node), hop, self.clock.now()).issued()

            return await self.sessions.of(key, make)
        except ServiceError as fault:
            told = UpstreamAnswered(status=fault.status, code=fault.code, message=fault.message)
            told.hint = f"is there such a role, and does its trust policy name {role.arn}?"
            raise told from None

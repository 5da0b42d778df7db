"""The node's metadata service, at a port of its own: what EC2's says at 169.254.169.254, to whoever asks."""

from __future__ import annotations

from collections.abc import Mapping

from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.imds.ec2 import Ec2
from rolecall.daemons.local_aws.imds.wire import documents, not_assumable
from rolecall.edges.telemetry import Log
from rolecall.errors import ServiceError
from rolecall.mechanisms.imds import door, wire
from rolecall.mechanisms.imds.door import Asked, Gate

log = Log("rolecall.plane")

HOSTS = door.HOSTS | {"127.0.0.1", "localhost", "::1"}


class MetadataService:
    """Tokens, documents, and the instance's role. It knows nobody: any pod that asks is the node.

    Tokens are good for every process of this machine, as EC2's are on the instance. There is no hop limit to
    show: nothing that comes by loopback has made a hop.
    """

    def __init__(self, ec2: Ec2, key: Secret) -> None:
        self._ec2 = ec2
        self._documents: Mapping[str, str] = documents(ec2.instance, ec2.world)
        self._shown = {*self._documents, "meta-data/iam/info", "meta-data/iam/security-credentials/"}
        self._gate = Gate(key, source=ec2.instance.id, hosts=HOSTS)

    async def answer(self, request: Request) -> Reply:
        """Return what the service says to a request."""
        asked = door.parse(request, self._gate, allowed=self._shown, now=self._ec2.clock.now())
        reply = asked if isinstance(asked, Reply) else await self._reply(asked)
        what = "token" if isinstance(asked, Reply) else asked.what
        # Programs ask without being told to, and without a role they ask in vain: that is no refusal of anybody.
        log.debug("imds.answered", what=what, status=reply.status, code=reply.reason)
        return reply

    async def _reply(self, asked: Asked) -> Reply:
        if asked.what == "directory":
            return door.render_directory(asked, self._shown)
        if asked.what == "document":
            return wire.text(self._documents[asked.document])
        if asked.what == "other":
            return wire.error(404, "not-found")
        return await self._of_role(asked)

    async def _of_role(self, asked: Asked) -> Reply:
        """Return the role's name, its profile or its credentials; 404 where there is none, or not that one."""
        role = await self._ec2.role()
        if role is None:
            return wire.error(404, "no-node-role")
        if asked.what == "listing":
            return wire.text(role.arn.name)
        if asked.what == "info":
            profile = self._ec2.world.iam_arn(f"instance-profile/{role.arn.name}")
            instance = self._ec2.instance
            return wire.document(wire.info_members(profile, instance.profile_id, instance.launched_at))
        if asked.role != role.arn.name:
            return wire.error(404, "other-role")
        try:
            held = await self._ec2.session(role)
        except ServiceError as fault:
            log.warning("imds.no_credentials", role=role.arn.name, code=fault.code, why=fault.message)
            return not_assumable(role.arn.name, self._ec2.clock.now())
        return wire.document(wire.credential_members(held.issued, held.since))

"""Credentials of a role that is assumed first, so that others are assumed with it: role chaining."""

from __future__ import annotations

from collections.abc import Callable

from rolecall.core.grant import Hop
from rolecall.core.names import RoleArn
from rolecall.core.session import LONGEST_CHAINED_SESSION, SessionSpec
from rolecall.edges.aws.node_credentials import Lease, SigningKey
from rolecall.edges.aws.renewed import RenewedCredentials
from rolecall.edges.aws.sts import AssumeRole
from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log


def chained(
    own: AssumeRole, role: RoleArn, session: str, *, clock: Clock, dice: Callable[[], float], log: Log
) -> RenewedCredentials:
    """Return the role's credentials, assumed by `own` when they are first needed and renewed before they end.

    `session` is what its sessions are called. What is assumed with them lasts an hour at most (IAM User Guide, "Role
    chaining").
    """
    hop = Hop(role, SessionSpec(session, LONGEST_CHAINED_SESSION))

    async def fetch() -> Lease:
        found = (await own(hop)).credentials
        return Lease(SigningKey(found.access_key_id, found.secret_access_key, found.session_token), found.expires_at)

    return RenewedCredentials(fetch, where=str(role), clock=clock, dice=dice, log=log)

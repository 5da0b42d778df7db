"""GetCallerIdentity: who a client is, which everyone may ask."""

from __future__ import annotations

from rolecall.daemons.local_aws.operations import Answer, Call, Operation, anything
from rolecall.daemons.local_aws.principals import RoleSession, User
from rolecall.edges.store.sqlite import Tx


def get_caller_identity(tx: Tx, call: Call) -> Answer:
    """Answer GetCallerIdentity."""
    assert isinstance(call.principal, User | RoleSession)
    return {"UserId": call.principal.user_id, "Account": call.principal.account, "Arn": call.principal.arn}


OPERATION = Operation("sts:GetCallerIdentity", anything, act=get_caller_identity, for_everyone=True)

"""GetCallerIdentity: who a client is, which everyone may ask."""

from __future__ import annotations

import sqlite3

from rolecall.daemons.local_aws.operations import Answer, Call, Operation, anything
from rolecall.daemons.local_aws.principals import RoleSession, User


def get_caller_identity(tx: sqlite3.Connection, call: Call) -> Answer:
    """Answer GetCallerIdentity."""
    assert isinstance(call.principal, User | RoleSession)
    return {"UserId": call.principal.user_id, "Account": call.principal.account, "Arn": call.principal.arn}


OPERATION = Operation("sts:GetCallerIdentity", anything, act=get_caller_identity, open=True)

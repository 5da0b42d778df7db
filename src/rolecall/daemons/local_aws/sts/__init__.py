"""STS: sessions of roles, for callers that the roles' trust policies admit."""

from __future__ import annotations

from rolecall.daemons.local_aws.operations import Operations
from rolecall.daemons.local_aws.sts import assume_role, caller_identity
from rolecall.daemons.local_aws.sts.web_identity import WebIdentity


def operations(web_identity: WebIdentity) -> Operations:
    """Return the table of STS operations."""
    return {
        "AssumeRole": assume_role.OPERATION,
        "AssumeRoleWithWebIdentity": web_identity.operation(),
        "GetCallerIdentity": caller_identity.OPERATION,
    }

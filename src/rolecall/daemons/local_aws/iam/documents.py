"""Policy documents as IAM takes and gives them: parsed before they are kept, URL-encoded in answers."""

from __future__ import annotations

import re
from urllib.parse import quote

from rolecall.core.policy.document import Kind, minified_length, parse_policy
from rolecall.daemons.local_aws.operations import World
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import BadPolicy, ServiceError

# IAM User Guide, "IAM and AWS STS quotas"; white space outside strings is not counted.
LONGEST_MANAGED = 6144
LONGEST_INLINE = 10_240
_OWN_PRINCIPAL = re.compile(r"arn:aws[a-z0-9-]*:iam::(\d{12}):((role|user)/.+)")


def checked(text: str, kind: Kind) -> str:
    """Return a document that can be read, or raise `ServiceError` MalformedPolicyDocument naming the path."""
    try:
        parse_policy(text, kind)
    except BadPolicy as fault:
        raise ServiceError("MalformedPolicyDocument", f"{fault.detail} (at {fault.path})") from None
    return text


def checked_trust(tx: Tx, world: World, text: str) -> str:
    """Return a trust policy that fits the quota and names only principals that exist in this account."""
    # The size first: it is what fills up, one cluster after the other.
    if minified_length(text) > world.trust_policy_quota:
        raise ServiceError(
            "LimitExceeded", f"Cannot exceed quota for ACLSizePerRole: {world.trust_policy_quota}", status=409
        )
    checked(text, "trust")
    for statement in parse_policy(text, "trust").statements:
        for arn in sorted(statement.principals.arns if statement.principals else ()):
            found = _OWN_PRINCIPAL.fullmatch(arn)
            if found and found[1] == world.account and not _exists(tx, arn, found[3]):
                raise ServiceError("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{arn}"')
    return text


def encoded(document: str) -> str:
    """Return a document as IAM answers it: percent-encoded (RFC 3986)."""
    return quote(document, safe="")


def _exists(tx: Tx, arn: str, kind: str) -> bool:
    table = "roles" if kind == "role" else "users"
    return tx.execute(f"SELECT 1 FROM {table} WHERE arn = ?", (arn,)).fetchone() is not None  # noqa: S608

"""IAM: OIDC providers, roles, policies, and the keys of the plane's two users."""

from __future__ import annotations

from rolecall.daemons.local_aws.iam import managed_policies, providers, role_policies, roles, users
from rolecall.daemons.local_aws.operations import Operations

OPERATIONS: Operations = {
    **providers.OPERATIONS,
    **roles.OPERATIONS,
    **managed_policies.OPERATIONS,
    **role_policies.OPERATIONS,
    **users.OPERATIONS,
}

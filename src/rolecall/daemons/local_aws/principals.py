"""Who signed a call: a user of the plane, a role session, an AWS service, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rolecall.core.names import AccountId, Partition, RoleArn
from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.match import Requester


@dataclass(frozen=True, slots=True)
class User:
    """An IAM user of the plane: ``admin`` or ``node``."""

    name: str
    arn: str
    user_id: str
    account: AccountId

    def requester(self) -> Requester:
        """As policies see it."""
        return Requester(arn=self.arn, account=self.account, kind="user", user_id=self.user_id)

    def context(self) -> RequestContext:
        """The condition keys that describe it (IAM User Guide, global condition keys)."""
        return RequestContext.of(
            {
                "aws:PrincipalArn": self.arn,
                "aws:PrincipalAccount": self.account,
                "aws:PrincipalType": "User",
                "aws:userid": self.user_id,
                "aws:username": self.name,
            }
        )


@dataclass(frozen=True, slots=True)
class RoleSession:
    """A session of a role, with the tags it carries and those it must pass on."""

    arn: str
    role: RoleArn
    role_id: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive_keys: frozenset[str] = frozenset()
    source_identity: str | None = None
    federated: Mapping[str, str] = field(default_factory=dict)

    @property
    def user_id(self) -> str:
        """``AROA…:session-name``."""
        return f"{self.role_id}:{self.name}"

    @property
    def account(self) -> AccountId:
        """The role's account."""
        return self.role.account

    def requester(self) -> Requester:
        """As policies see it."""
        return Requester(
            arn=self.arn,
            account=self.role.account,
            kind="role-session",
            role_arn=str(self.role),
            user_id=self.user_id,
        )

    def context(self) -> RequestContext:
        """The condition keys that describe it; a session tag beats a role tag of the same name."""
        keys = {
            "aws:PrincipalArn": str(self.role),
            "aws:PrincipalAccount": str(self.role.account),
            "aws:PrincipalType": "AssumedRole",
            "aws:userid": self.user_id,
            **{f"aws:PrincipalTag/{key}": value for key, value in self.tags.items()},
            **self.federated,
        }
        if self.source_identity is not None:
            keys["aws:SourceIdentity"] = self.source_identity
        return RequestContext.of(keys)


@dataclass(frozen=True, slots=True)
class Service:
    """An AWS service acting by itself, such as ``pods.eks.amazonaws.com``."""

    name: str
    account: AccountId
    partition: Partition

    def requester(self) -> Requester:
        """As policies see it."""
        return Requester(arn=self.name, account=self.account, kind="service", service=self.name)

    def context(self) -> RequestContext:
        """The condition keys that describe it."""
        return RequestContext.of(
            {
                "aws:PrincipalIsAWSService": "true",
                "aws:PrincipalServiceName": self.name,
                "aws:SourceAccount": self.account,
            }
        )


Principal = User | RoleSession | Service

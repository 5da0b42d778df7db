"""The facts that decisions read: gathered first, then judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rolecall.core.names import (
    AccountId,
    Arn,
    ClusterName,
    Namespace,
    Partition,
    Region,
    RoleArn,
    ServiceAccountName,
)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A cluster as its identity matters: where it is, and who signs its tokens."""

    name: ClusterName
    partition: Partition
    region: Region
    account: AccountId
    issuer: str

    @property
    def arn(self) -> str:
        """The cluster's ARN, as in the session tag ``eks-cluster-arn``."""
        return f"arn:{self.partition}:eks:{self.region}:{self.account}:cluster/{self.name}"


@dataclass(frozen=True, slots=True)
class Association:
    """(cluster, namespace, service account) → role. Times are seconds since the epoch.

    `external_id` is set exactly where `target_role` is (EKS API, PodIdentityAssociation).
    """

    id: str
    arn: Arn
    cluster: ClusterName
    namespace: Namespace
    service_account: ServiceAccountName
    role: RoleArn
    created_at: float
    modified_at: float
    target_role: RoleArn | None = None
    external_id: str | None = None
    disable_session_tags: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    owner_arn: str | None = None


@dataclass(frozen=True, slots=True)
class Revocations:
    """Associations that were changed or deleted since a moment; what was issued by them before is over.

    `seq` names the moment that this reaches to. `whole` is False where the moment asked about lies so far back
    that some may be missing.
    """

    seq: int
    association_ids: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class ServiceAccountFacts:
    """A service account with the annotations that decide about its pods."""

    cluster: ClusterName
    namespace: Namespace
    name: ServiceAccountName
    uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod as far as identity goes. `running` is False once it has ended."""

    cluster: ClusterName
    namespace: Namespace
    name: str
    uid: str
    service_account: ServiceAccountName
    node: str
    ip: str | None = None
    host_network: bool = False
    running: bool = True


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """A container of a Docker engine as far as identity goes. `running` is False once it has ended.

    `environment` holds only the variables that somebody reads; a repr shows none of it: programs keep secrets there.
    """

    id: str
    name: str
    addresses: frozenset[str] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    running: bool = True

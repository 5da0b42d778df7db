"""Pod Identity associations: the EKS API's rules over whatever store keeps them.

(EKS API Reference, CreatePodIdentityAssociation and its siblings; observed behaviour: landscape.md §2.1.)
One association per service account and cluster; namespace and service account need not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rolecall.core.names import Arn, ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.records import Association, ClusterFacts, Revocations
from rolecall.errors import BadName, ServiceError

MOST_PER_CLUSTER = 5000
_NAMESPACE_RULE = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


@dataclass(frozen=True, slots=True)
class Page:
    """Some associations, in order of their ids, and the id to go on after, or None at the end."""

    associations: Sequence[Association]
    next_after: str | None


class AssociationStore(Protocol):
    """Where associations are kept. Each call is atomic and durable once it has returned."""

    async def add(self, association: Association, client_token: str | None) -> Association:
        """Keep a new association; return it, or the one that was made with the same client token.

        Raises `ServiceError` ResourceInUseException for a service account that has one already, and
        ResourceLimitExceededException beyond the cluster's limit.
        """
        ...

    async def made_with(self, cluster: ClusterName, client_token: str) -> Association | None:
        """Return the association that was made with a client token."""
        ...

    async def find(self, cluster: ClusterName, association_id: str) -> Association | None:
        """Return an association by its id."""
        ...

    async def of_account(
        self, cluster: ClusterName, namespace: Namespace, service_account: ServiceAccountName
    ) -> Association | None:
        """Return the association of a service account."""
        ...

    async def page(
        self, cluster: ClusterName, namespace: str | None, service_account: str | None, after: str, most: int
    ) -> Page:
        """Return at most `most` associations with ids after `after`."""
        ...

    async def replace(self, association: Association, before: Association) -> bool:
        """Keep a changed association; False where it is gone or no longer what it was `before`."""
        ...

    async def remove(self, cluster: ClusterName, association_id: str) -> bool:
        """Forget an association; False where it was gone already."""
        ...

    async def revoked(self, cluster: ClusterName, after: int) -> Revocations:
        """Return what was changed or deleted since `after`, a `seq` of before; nothing for a negative one."""
        ...


class World(Protocol):
    """What associations need to know of their surroundings."""

    async def cluster(self, name: ClusterName) -> ClusterFacts | None:
        """Return a cluster."""
        ...

    async def refuse_role(self, role: RoleArn) -> None:
        """Raise `ServiceError` for a role that does not exist or can never admit the server's principal."""
        ...

    def new_id(self) -> str:
        """Return a fresh association id."""
        ...

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        ...


class Associations:
    """The five operations. Parameters and answers have the EKS API's member names."""

    def __init__(self, store: AssociationStore, world: World) -> None:
        self._store = store
        self._world = world

    async def create(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """CreatePodIdentityAssociation. The same client token answers the first result again."""
        cluster = await self._cluster(params)
        token = _client_token(params)
        if token and (made := await self._store.made_with(cluster.name, token)):
            return {"association": described(made)}
        _refuse_policy(params)
        role, target = _role(params, "roleArn"), _target_role(params)
        if role.account != cluster.account:
            raise _invalid(
                "The role must be in the cluster's account; name a role of another account as targetRoleArn."
            )
        tags = _tags(params)
        namespace, account = _namespace(params), _service_account(params)
        await self._world.refuse_role(role)
        now = self._world.now()
        identifier = self._world.new_id()
        association = Association(
            id=identifier,
            arn=Arn(
                cluster.partition,
                "eks",
                cluster.region,
                cluster.account,
                f"podidentityassociation/{cluster.name}/{identifier}",
            ),
            cluster=cluster.name,
            namespace=namespace,
            service_account=account,
            role=role,
            created_at=now,
            modified_at=now,
            target_role=target,
            external_id=_external_id(cluster, namespace, account) if target else None,
            disable_session_tags=params.get("disableSessionTags") or False,
            tags=tags,
        )
        return {"association": described(await self._store.add(association, token))}

    async def describe(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """DescribePodIdentityAssociation."""
        return {"association": described(await self._found(params))}

    async def list(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """ListPodIdentityAssociations: summaries, filtered by namespace and service account, in pages."""
        cluster = await self._cluster(params)
        most = params.get("maxResults", 100)
        page = await self._store.page(
            cluster.name,
            params.get("namespace"),
            params.get("serviceAccount"),
            params.get("nextToken", ""),
            most,
        )
        answer: dict[str, Any] = {"associations": [_summary(association) for association in page.associations]}
        if page.next_after is not None:
            answer["nextToken"] = page.next_after
        return answer

    async def update(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """UpdatePodIdentityAssociation: role, target role, session tags. An empty target role clears it."""
        cluster = await self._cluster(params)
        _refuse_policy(params)
        _client_token(params)
        while True:  # another update may have come in between; neither may undo the other
            association = await self._found(params)
            changed = replace(association, **await self._changes(cluster, association, params))
            if await self._store.replace(changed, association):
                return {"association": described(changed)}

    async def _changes(
        self, cluster: ClusterFacts, association: Association, params: Mapping[str, Any]
    ) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if params.get("roleArn") is not None:
            role = _role(params, "roleArn")
            if role.account != cluster.account:
                raise _invalid("The role must be in the cluster's account.")
            await self._world.refuse_role(role)
            changes["role"] = role
        if params.get("targetRoleArn") is not None:
            target = _target_role(params)
            changes["target_role"] = target
            changes["external_id"] = (
                _external_id(cluster, association.namespace, association.service_account) if target else None
            )
        if params.get("disableSessionTags") is not None:
            changes["disable_session_tags"] = params["disableSessionTags"]
        if not changes:
            raise _invalid("Nothing to update: give roleArn, targetRoleArn or disableSessionTags.")
        return changes | {"modified_at": self._world.now()}

    async def delete(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """DeletePodIdentityAssociation: answers what was deleted."""
        association = await self._found(params)
        if not await self._store.remove(association.cluster, association.id):
            raise _no_association(association.id)
        return {"association": described(replace(association, modified_at=self._world.now()))}

    async def _cluster(self, params: Mapping[str, Any]) -> ClusterFacts:
        name = params["clusterName"]
        try:
            facts = await self._world.cluster(ClusterName.parse(name))
        except BadName as fault:
            raise _invalid(fault.message) from None
        if facts is None:
            raise ServiceError("ResourceNotFoundException", f"No cluster found for name: {name}.", status=404)
        return facts

    async def _found(self, params: Mapping[str, Any]) -> Association:
        """Return the association that the parameters name by id or by ARN."""
        cluster = await self._cluster(params)
        named: str = params["associationId"]
        association = await self._store.find(cluster.name, named.rpartition("/")[2])
        if association is None or named not in (association.id, str(association.arn)):
            raise _no_association(named)
        return association


def described(association: Association) -> dict[str, Any]:
    """Return an association as the EKS API describes it."""
    return _summary(association) | {
        "roleArn": str(association.role),
        "tags": dict(association.tags),
        "createdAt": association.created_at,
        "modifiedAt": association.modified_at,
        "disableSessionTags": association.disable_session_tags,
        "targetRoleArn": str(association.target_role) if association.target_role else None,
        "externalId": association.external_id,
    }


def _summary(association: Association) -> dict[str, Any]:
    return {
        "clusterName": association.cluster,
        "namespace": association.namespace,
        "serviceAccount": association.service_account,
        "associationArn": str(association.arn),
        "associationId": association.id,
        "ownerArn": association.owner_arn,
    }


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterException", message)


def _no_association(identifier: str) -> ServiceError:
    return ServiceError(
        "ResourceNotFoundException",
        f"No service account role association found for ID: {identifier[:64]}",
        status=404,
    )


def _role(params: Mapping[str, Any], member: str) -> RoleArn:
    try:
        return RoleArn.parse(params[member])
    except BadName as fault:
        raise _invalid(f"{member}: {fault.message}") from None


def _target_role(params: Mapping[str, Any]) -> RoleArn | None:
    return _role(params, "targetRoleArn") if params.get("targetRoleArn") else None


def _namespace(params: Mapping[str, Any]) -> Namespace:
    try:
        return Namespace.parse(params["namespace"])
    except BadName:
        raise _invalid(
            "The parameter namespace contains invalid characters. It should conform to the regular expression "
            f'"{_NAMESPACE_RULE}"'
        ) from None


def _service_account(params: Mapping[str, Any]) -> ServiceAccountName:
    try:
        return ServiceAccountName.parse(params["serviceAccount"])
    except BadName as fault:
        raise _invalid(f"serviceAccount: {fault.message}") from None


def _client_token(params: Mapping[str, Any]) -> str | None:
    token: str | None = params.get("clientRequestToken")
    if token is not None and not 33 <= len(token) <= 126:
        raise _invalid("The client request token parameter must be between 33 and 126 characters.")
    return token


def _refuse_policy(params: Mapping[str, Any]) -> None:
    if params.get("policy"):
        raise _invalid(
            "policy is refused: session policies are not enforced yet, and ignoring one would grant too much."
        )


def _tags(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags; how many and how long they may be is in AWS's model of the API."""
    tags: dict[str, str] = params.get("tags") or {}
    for key in tags:
        if key.lower().startswith("aws:"):
            raise _invalid(f"tag key {key!r}: the prefix aws: is reserved.")
    return tags


def _external_id(cluster: ClusterFacts, namespace: str, service_account: str) -> str:
    """Return the external id that guards the target role (EKS API: region/account/cluster/namespace/account)."""
    return f"{cluster.region}/{cluster.account}/{cluster.name}/{namespace}/{service_account}"

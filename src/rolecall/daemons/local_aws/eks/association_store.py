"""Associations in the plane's SQLite: the store that the product's server works on here."""

from __future__ import annotations

import msgspec

from rolecall.core.names import Arn, ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.records import Association, Revocations
from rolecall.daemons.local_aws.operations import World
from rolecall.daemons.server.associations import MOST_PER_CLUSTER, Page
from rolecall.edges.store.sqlite import Database, Row, Tx
from rolecall.errors import ServiceError


def association_of(tx: Tx, world: World, cluster: str, namespace: str, service_account: str) -> Association | None:
    """Return the association of a service account."""
    row = tx.execute(
        "SELECT * FROM associations WHERE cluster = ? AND namespace = ? AND service_account = ?",
        (cluster, namespace, service_account),
    ).fetchone()
    return None if row is None else _association(world, row)


class SqliteAssociations:
    """An `AssociationStore`: one transaction a call, answered after its commit."""

    def __init__(self, database: Database, world: World) -> None:
        self._database = database
        self._world = world

    async def add(self, association: Association, client_token: str | None) -> Association:
        """Keep a new association, or return the one that the client token made."""
        return await self._database.run(lambda tx: self._add(tx, association, client_token))

    async def made_with(self, cluster: ClusterName, client_token: str) -> Association | None:
        """Return the association that was made with a client token."""
        return await self._one("cluster = ? AND client_token = ?", (cluster, client_token))

    async def find(self, cluster: ClusterName, association_id: str) -> Association | None:
        """Return an association by its id."""
        return await self._one("cluster = ? AND id = ?", (cluster, association_id))

    async def of_account(
        self, cluster: ClusterName, namespace: Namespace, service_account: ServiceAccountName
    ) -> Association | None:
        """Return the association of a service account."""
        return await self._database.run(lambda tx: association_of(tx, self._world, cluster, namespace, service_account))

    async def page(
        self, cluster: ClusterName, namespace: str | None, service_account: str | None, after: str, most: int
    ) -> Page:
        """Return at most `most` associations with ids after `after`."""
        rows = await self._database.run(
            lambda tx: tx.execute(
                "SELECT * FROM associations WHERE cluster = ? AND id > ? AND namespace = coalesce(?, namespace)"
                " AND service_account = coalesce(?, service_account) ORDER BY id LIMIT ?",
                (cluster, after, namespace, service_account, most + 1),
            ).fetchall()
        )
        shown = [_association(self._world, row) for row in rows[:most]]
        return Page(shown, shown[-1].id if len(rows) > most else None)

    async def replace(self, association: Association, before: Association) -> bool:
        """Keep a changed association, if it still is what it was before."""
        return await self._database.run(lambda tx: self._replace(tx, association, before))

    async def remove(self, cluster: ClusterName, association_id: str) -> bool:
        """Forget an association."""
        removed = await self._database.run(
            lambda tx: (
                tx.execute("DELETE FROM associations WHERE cluster = ? AND id = ?", (cluster, association_id)).rowcount
            )
        )
        return removed == 1

    async def revoked(self, cluster: ClusterName, after: int) -> Revocations:
        """Return what was changed or deleted since `after`."""
        return await self._database.run(lambda tx: _revoked(tx, cluster, after))

    async def _one(self, where: str, values: tuple[str, ...]) -> Association | None:
        statement = f"SELECT * FROM associations WHERE {where}"  # noqa: S608 - `where` is a literal of this module
        row = await self._database.run(lambda tx: tx.execute(statement, values).fetchone())
        return None if row is None else _association(self._world, row)

    def _replace(self, tx: Tx, association: Association, before: Association) -> bool:
        row = tx.execute("SELECT * FROM associations WHERE id = ?", (before.id,)).fetchone()
        if row is None or _association(self._world, row) != before:
            return False
        tx.execute(
            "UPDATE associations SET role_arn = ?, target_role_arn = ?, external_id = ?, disable_session_tags = ?,"
            " modified_at = ? WHERE id = ?",
            (
                str(association.role),
                str(association.target_role) if association.target_role else None,
                association.external_id,
                association.disable_session_tags,
                association.modified_at,
                association.id,
            ),
        )
        return True

    def _add(self, tx: Tx, association: Association, client_token: str | None) -> Association:
        if client_token is not None:
            made = tx.execute(
                "SELECT * FROM associations WHERE cluster = ? AND client_token = ?",
                (association.cluster, client_token),
            ).fetchone()
            if made is not None:
                return _association(self._world, made)
        if tx.execute("SELECT 1 FROM clusters WHERE name = ?", (association.cluster,)).fetchone() is None:
            raise ServiceError(
                "ResourceNotFoundException", f"No cluster found for name: {association.cluster}.", status=404
            )
        present = association_of(
            tx, self._world, association.cluster, association.namespace, association.service_account
        )
        if present is not None:
            raise ServiceError("ResourceInUseException", f"Association already exists: {present.id}", status=409)
        (count,) = tx.execute("SELECT count(*) FROM associations WHERE cluster = ?", (association.cluster,)).fetchone()
        if count >= MOST_PER_CLUSTER:
            raise ServiceError(
                "ResourceLimitExceededException", f"A cluster has at most {MOST_PER_CLUSTER} associations."
            )
        _insert(tx, association, client_token)
        return association


def _revoked(tx: Tx, cluster: ClusterName, after: int) -> Revocations:
    row = tx.execute("SELECT coalesce(max(seq), 0) AS last, coalesce(min(seq), 1) AS first FROM revocations").fetchone()
    if after < 0:
        return Revocations(row["last"])
    found = tx.execute(
        "SELECT DISTINCT association_id FROM revocations WHERE cluster = ? AND seq > ?", (cluster, after)
    ).fetchall()
    # A seq that is ahead of ours is another database's: a state directory that was made anew.
    whole = row["first"] - 1 <= after <= row["last"]
    return Revocations(row["last"], tuple(each["association_id"] for each in found), whole)


def _insert(tx: Tx, association: Association, client_token: str | None) -> None:
    tx.execute(
        "INSERT INTO associations (id, cluster, namespace, service_account, role_arn, target_role_arn, external_id,"
        " disable_session_tags, tags, client_token, created_at, modified_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            association.id,
            association.cluster,
            association.namespace,
            association.service_account,
            str(association.role),
            str(association.target_role) if association.target_role else None,
            association.external_id,
            association.disable_session_tags,
            msgspec.json.encode(dict(association.tags)).decode(),
            client_token,
            association.created_at,
            association.modified_at,
        ),
    )


def _association(world: World, row: Row) -> Association:
    return Association(
        id=row["id"],
        arn=Arn.parse(world.eks_arn(f"podidentityassociation/{row['cluster']}/{row['id']}")),
        cluster=ClusterName(row["cluster"]),
        namespace=Namespace(row["namespace"]),
        service_account=ServiceAccountName(row["service_account"]),
        role=RoleArn.parse(row["role_arn"]),
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        target_role=RoleArn.parse(row["target_role_arn"]) if row["target_role_arn"] else None,
        external_id=row["external_id"],
        disable_session_tags=bool(row["disable_session_tags"]),
        tags=msgspec.json.decode(row["tags"]),
    )

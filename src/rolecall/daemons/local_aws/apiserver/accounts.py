"""Service accounts of the laptop world: their annotations, and what is associated with them."""

from __future__ import annotations

import msgspec

from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.daemons.local_aws.apiserver.annotations import changed
from rolecall.daemons.local_aws.apiserver.wire import Account, Annotations, Association
from rolecall.daemons.local_aws.eks.association_store import association_of
from rolecall.daemons.local_aws.operations import World
from rolecall.edges import entropy
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import BadName, ServiceError


def account_uid(tx: Tx, cluster: str, namespace: Namespace, name: ServiceAccountName) -> str:
    """Return a service account's UID; it is made when something first needs it."""
    tx.execute(
        "INSERT INTO service_accounts (cluster, namespace, name, uid, annotations) VALUES (?, ?, ?, ?, '{}')"
        " ON CONFLICT DO NOTHING",
        (cluster, namespace, name, entropy.uuid4()),
    )
    row = tx.execute(
        "SELECT uid FROM service_accounts WHERE cluster = ? AND namespace = ? AND name = ?",
        (cluster, namespace, name),
    ).fetchone()
    return str(row["uid"])


def account(tx: Tx, world: World, cluster: str, namespace: str, name: str) -> Account:
    """Return a service account, also one that nobody has touched yet."""
    checked = _names(namespace, name)
    row = tx.execute(
        "SELECT uid, annotations FROM service_accounts WHERE cluster = ? AND namespace = ? AND name = ?",
        (cluster, *checked),
    ).fetchone()
    found = association_of(tx, world, cluster, namespace, name)
    return Account(
        cluster=cluster,
        namespace=namespace,
        name=name,
        uid="" if row is None else row["uid"],
        annotations={} if row is None else msgspec.json.decode(row["annotations"]),
        association=None
        if found is None
        else Association(
            association_id=found.id,
            association_arn=str(found.arn),
            role_arn=str(found.role),
            target_role_arn=str(found.target_role) if found.target_role else None,
        ),
    )


def annotate(tx: Tx, world: World, cluster: str, namespace: str, name: str, change: Annotations) -> Account:
    """Set and remove annotations; nothing is changed where one of them is illegal."""
    checked = _names(namespace, name)
    account_uid(tx, cluster, *checked)
    kept = changed(account(tx, world, cluster, namespace, name).annotations, change.annotations)
    tx.execute(
        "UPDATE service_accounts SET annotations = ? WHERE cluster = ? AND namespace = ? AND name = ?",
        (msgspec.json.encode(kept).decode(), cluster, *checked),
    )
    return account(tx, world, cluster, namespace, name)


def accounts(tx: Tx, world: World, cluster: str) -> tuple[Account, ...]:
    """Return the service accounts that were annotated, associated or ran a pod."""
    rows = tx.execute(
        "SELECT namespace, name FROM service_accounts WHERE cluster = ?"
        " UNION SELECT namespace, service_account FROM associations WHERE cluster = ? ORDER BY 1, 2",
        (cluster, cluster),
    ).fetchall()
    return tuple(account(tx, world, cluster, row["namespace"], row["name"]) for row in rows)


def _names(namespace: str, name: str) -> tuple[Namespace, ServiceAccountName]:
    try:
        return Namespace.parse(namespace), ServiceAccountName.parse(name)
    except BadName as fault:
        raise ServiceError("InvalidParameterException", fault.message) from None

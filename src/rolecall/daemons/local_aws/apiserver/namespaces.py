"""Namespaces of the laptop world: all are there, and some are annotated with the roles that their pods may have."""

from __future__ import annotations

import msgspec

from rolecall.core.names import Namespace
from rolecall.daemons.local_aws.apiserver.annotations import changed
from rolecall.daemons.local_aws.apiserver.wire import Annotations, NamespaceFacts
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import BadName, ServiceError


def namespace(tx: Tx, cluster: str, name: str) -> NamespaceFacts:
    """Return a namespace, also one that nobody has touched yet."""
    _check(name)
    row = tx.execute("SELECT * FROM namespaces WHERE cluster = ? AND name = ?", (cluster, name)).fetchone()
    return NamespaceFacts(cluster, name, {}) if row is None else _facts(row)


def annotate(tx: Tx, cluster: str, name: str, change: Annotations) -> NamespaceFacts:
    """Set and remove annotations; nothing is changed where one of them is illegal."""
    kept = changed(namespace(tx, cluster, name).annotations, change.annotations)
    tx.execute(
        "INSERT INTO namespaces (cluster, name, annotations) VALUES (?, ?, ?)"
        " ON CONFLICT (cluster, name) DO UPDATE SET annotations = excluded.annotations",
        (cluster, name, msgspec.json.encode(kept).decode()),
    )
    return namespace(tx, cluster, name)


def annotated(tx: Tx, cluster: str) -> tuple[NamespaceFacts, ...]:
    """Return the namespaces that have annotations, by name."""
    rows = tx.execute("SELECT * FROM namespaces WHERE cluster = ? AND annotations <> '{}' ORDER BY name", (cluster,))
    return tuple(_facts(row) for row in rows)


def _facts(row: Row) -> NamespaceFacts:
    return NamespaceFacts(row["cluster"], row["name"], msgspec.json.decode(row["annotations"]))


def _check(name: str) -> None:
    try:
        Namespace.parse(name)
    except BadName as fault:
        raise ServiceError("InvalidParameterException", fault.message) from None

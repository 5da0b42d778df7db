"""Pods of the laptop world: registered while their program runs, dead when it ends or falls silent."""

from __future__ import annotations

from rolecall.core.names import ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import PodFacts
from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.apiserver.accounts import account_uid
from rolecall.daemons.local_aws.apiserver.annotations import changed
from rolecall.daemons.local_aws.apiserver.wire import NewPod, Pod
from rolecall.edges import entropy
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import BadName, ServiceError

NODE = "rolecall-dev"
HEARTBEAT = 60.0
"""Seconds without a heartbeat after which a pod counts as gone: its program was killed, or the plane slept."""
_KEPT_AFTER_END = 86_400.0
_LONGEST_BASE = 58  # Kubernetes, apiserver names.maxGeneratedNameLength


def register(tx: Tx, cluster: str, wanted: NewPod, now: float) -> Pod:
    """Return a new running pod named ``<service account>-<5 characters>``, cut as Kubernetes cuts a generateName."""
    try:
        namespace = Namespace.parse(wanted.namespace)
        account = ServiceAccountName.parse(wanted.service_account)
    except BadName as fault:
        raise ServiceError("InvalidParameterException", fault.message) from None
    changed({}, wanted.annotations)  # raises for what Kubernetes would not take
    account_uid(tx, cluster, namespace, account)
    uid = entropy.uuid4()
    tx.execute("DELETE FROM pods WHERE coalesce(ended_at, heartbeat_by) < ?", (now - _KEPT_AFTER_END,))
    tx.execute(
        "INSERT INTO pods (uid, cluster, namespace, service_account, name, node, created_at, heartbeat_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            uid,
            cluster,
            namespace,
            account,
            f"{account}-"[:_LONGEST_BASE] + ids.pod_suffix(),
            NODE,
            now,
            now + HEARTBEAT,
        ),
    )
    return find(tx, cluster, uid, now)


def find(tx: Tx, cluster: str, uid: str, now: float) -> Pod:
    """Return a pod; raises `ServiceError` ResourceNotFoundException for one that never was."""
    row = tx.execute("SELECT * FROM pods WHERE cluster = ? AND uid = ?", (cluster, uid)).fetchone()
    if row is None:
        raise ServiceError("ResourceNotFoundException", f"no pod of cluster {cluster} has uid {uid[:64]}", status=404)
    return _pod(row, now)


def heartbeat(tx: Tx, cluster: str, uid: str, now: float) -> Pod:
    """Keep a pod alive. One that ended stays dead; one that was only silent lives again."""
    kept = tx.execute(
        "UPDATE pods SET heartbeat_by = ? WHERE cluster = ? AND uid = ? AND ended_at IS NULL",
        (now + HEARTBEAT, cluster, uid),
    ).rowcount
    if not kept:
        raise ServiceError("ResourceNotFoundException", f"pod {uid[:64]} has ended", status=404)
    return find(tx, cluster, uid, now)


def end(tx: Tx, cluster: str, uid: str, now: float) -> Pod:
    """End a pod: its tokens are refused from now on."""
    tx.execute("UPDATE pods SET ended_at = ? WHERE cluster = ? AND uid = ? AND ended_at IS NULL", (now, cluster, uid))
    return find(tx, cluster, uid, now)


def running(tx: Tx, cluster: str, now: float) -> tuple[Pod, ...]:
    """Return the pods that run."""
    rows = tx.execute(
        "SELECT * FROM pods WHERE cluster = ? AND ended_at IS NULL AND heartbeat_by > ? ORDER BY created_at LIMIT 1000",
        (cluster, now),
    )
    return tuple(_pod(row, now) for row in rows)


def runs(tx: Tx, uid: str, now: float) -> bool:
    """Say whether there is such a pod, and it runs."""
    row = tx.execute("SELECT * FROM pods WHERE uid = ?", (uid,)).fetchone()
    return row is not None and _runs(row, now)


def facts(tx: Tx, cluster: str, uid: str, now: float) -> PodFacts | None:
    """Return a pod as identity decisions read it."""
    row = tx.execute("SELECT * FROM pods WHERE cluster = ? AND uid = ?", (cluster, uid)).fetchone()
    if row is None:
        return None
    return PodFacts(
        cluster=ClusterName(row["cluster"]),
        namespace=Namespace(row["namespace"]),
        name=row["name"],
        uid=row["uid"],
        service_account=ServiceAccountName(row["service_account"]),
        node=row["node"],
        running=_runs(row, now),
    )


def _runs(row: Row, now: float) -> bool:
    return row["ended_at"] is None and now < float(row["heartbeat_by"])


def _pod(row: Row, now: float) -> Pod:
    return Pod(
        cluster=row["cluster"],
        namespace=row["namespace"],
        service_account=row["service_account"],
        name=row["name"],
        uid=row["uid"],
        node=row["node"],
        running=_runs(row, now),
        heartbeat_by=row["heartbeat_by"],
    )

"""EKS add-ons: the agent's above all. On a laptop nothing has to roll out, so they are active at once."""

from __future__ import annotations

from typing import Any

import msgspec

from rolecall.daemons.local_aws.eks.clusters import cluster_row
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations, Target, World
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import ServiceError

# Name → the version that is installed where none is asked for.
VERSIONS = {
    "eks-pod-identity-agent": "v1.3.10-eksbuild.1",
    "vpc-cni": "v1.20.4-eksbuild.1",
    "coredns": "v1.12.4-eksbuild.1",
    "kube-proxy": "v1.34.0-eksbuild.4",
}


def _cluster_target(_tx: Tx, call: Call) -> Target:
    arn = call.world.eks_arn(f"cluster/{call.params['clusterName']}")
    return Target(arn, arn)


def _target(_tx: Tx, call: Call) -> Target:
    arn = call.world.eks_arn(f"addon/{call.params['clusterName']}/{call.params['addonName']}/*")
    return Target(arn, arn)


def _described(world: World, row: Row, status: str = "ACTIVE") -> dict[str, Any]:
    return {
        "addonName": row["name"],
        "clusterName": row["cluster"],
        "status": status,
        "addonVersion": row["version"],
        "health": {"issues": []},
        "addonArn": world.eks_arn(f"addon/{row['cluster']}/{row['name']}/rolecall-dev"),
        "createdAt": row["created_at"],
        "modifiedAt": row["modified_at"],
        "serviceAccountRoleArn": row["service_account_role"],
        "configurationValues": row["configuration"],
        "tags": msgspec.json.decode(row["tags"]),
    }


def _row(tx: Tx, call: Call) -> Row:
    cluster, name = call.params["clusterName"], call.params["addonName"]
    cluster_row(tx, cluster)
    row: Row | None = tx.execute("SELECT * FROM addons WHERE cluster = ? AND name = ?", (cluster, name)).fetchone()
    if row is None:
        raise ServiceError("ResourceNotFoundException", f"No addon: {name} found in cluster: {cluster}", status=404)
    return row


def _create(tx: Tx, call: Call) -> Answer:
    cluster, name = call.params["clusterName"], call.params["addonName"]
    cluster_row(tx, cluster)
    if name not in VERSIONS:
        raise ServiceError(
            "InvalidParameterException",
            f"Addon {name} is not offered here: choose one of {', '.join(sorted(VERSIONS))}",
        )
    if call.params.get("podIdentityAssociations"):
        raise ServiceError(
            "InvalidParameterException",
            "podIdentityAssociations of add-ons are not offered; create the association itself",
        )
    if tx.execute("SELECT 1 FROM addons WHERE cluster = ? AND name = ?", (cluster, name)).fetchone():
        raise ServiceError("ResourceInUseException", "Addon already exists.", status=409)
    tx.execute(
        "INSERT INTO addons (cluster, name, version, service_account_role, configuration, tags, created_at,"
        " modified_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            cluster,
            name,
            call.params.get("addonVersion", VERSIONS[name]),
            call.params.get("serviceAccountRoleArn"),
            call.params.get("configurationValues"),
            msgspec.json.encode(call.params.get("tags") or {}).decode(),
            call.now,
            call.now,
        ),
    )
    return {"addon": _described(call.world, _row(tx, call), status="CREATING")}


def _describe(tx: Tx, call: Call) -> Answer:
    return {"addon": _described(call.world, _row(tx, call))}


def _list(tx: Tx, call: Call) -> Answer:
    cluster, most = call.params["clusterName"], call.params.get("maxResults", 100)
    cluster_row(tx, cluster)
    rows = tx.execute(
        "SELECT name FROM addons WHERE cluster = ? AND name > ? ORDER BY name LIMIT ?",
        (cluster, call.params.get("nextToken", ""), most + 1),
    ).fetchall()
    names = [row["name"] for row in rows[:most]]
    return {"addons": names} | ({"nextToken": names[-1]} if len(rows) > most else {})


def _delete(tx: Tx, call: Call) -> Answer:
    row = _row(tx, call)
    tx.execute("DELETE FROM addons WHERE cluster = ? AND name = ?", (row["cluster"], row["name"]))
    return {"addon": _described(call.world, row, status="DELETING")}


OPERATIONS: Operations = {
    "CreateAddon": Operation("eks:CreateAddon", _cluster_target, act=_create),
    "DescribeAddon": Operation("eks:DescribeAddon", _target, act=_describe),
    "ListAddons": Operation("eks:ListAddons", _cluster_target, act=_list),
    "DeleteAddon": Operation("eks:DeleteAddon", _target, act=_delete),
}

"""EKS clusters: a name, an issuer that is fixed at creation, and a key that signs its pods' tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rolecall.core.names import ClusterName, Region
from rolecall.core.records import ClusterFacts
from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.issuers import Issuers
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations, Target, World
from rolecall.daemons.local_aws.signing_keys import SigningKey
from rolecall.edges.store.sqlite import Database, Row, Tx
from rolecall.errors import BadName, ServiceError

KUBERNETES_VERSION = "1.34"
MOST_CLUSTERS = 100


def cluster_row(tx: Tx, name: str) -> Row:
    """Return a cluster's row; raises `ServiceError` ResourceNotFoundException."""
    row: Row | None = tx.execute("SELECT * FROM clusters WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise ServiceError("ResourceNotFoundException", f"No cluster found for name: {name[:100]}.", status=404)
    return row


def cluster_facts(world: World, row: Row) -> ClusterFacts:
    """Return what identity decisions read of a cluster."""
    return ClusterFacts(
        name=ClusterName(row["name"]),
        partition=world.partition,
        region=Region(world.region),
        account=world.account,
        issuer=row["issuer"],
    )


def described(world: World, row: Row, status: str = "ACTIVE") -> dict[str, Any]:
    """Return a cluster as DescribeCluster shows it."""
    vpc = msgspec.json.decode(row["vpc"])
    return {
        "name": row["name"],
        "arn": world.eks_arn(f"cluster/{row['name']}"),
        "createdAt": row["created_at"],
        "version": row["version"],
        "endpoint": world.url,
        "roleArn": row["role_arn"],
        "resourcesVpcConfig": {
            "subnetIds": vpc.get("subnetIds", []),
            "securityGroupIds": vpc.get("securityGroupIds", []),
            "endpointPublicAccess": vpc.get("endpointPublicAccess", True),
            "endpointPrivateAccess": vpc.get("endpointPrivateAccess", False),
        },
        "identity": {"oidc": {"issuer": row["issuer"]}},
        "status": status,
        "platformVersion": "eks.1",
        "tags": msgspec.json.decode(row["tags"]),
    }


class Clusters:
    """The cluster operations. Issuers start and stop being served with their clusters."""

    def __init__(self, issuers: Issuers, database: Database) -> None:
        self._issuers = issuers
        self._database = database

    async def load(self) -> None:
        """Serve the issuers of all clusters that are kept."""
        for row in await self._database.run(lambda tx: tx.execute("SELECT * FROM clusters").fetchall()):
            self._issuers.add(ClusterName(row["name"]), row["issuer"], SigningKey.from_pem(row["private_key"]))

    def operations(self) -> Operations:
        """Return the table's entries."""
        return {
            "CreateCluster": Operation("eks:CreateCluster", _one("name"), act=_create, later=self._serve),
            "DescribeCluster": Operation("eks:DescribeCluster", _one("name"), act=_describe),
            "ListClusters": Operation("eks:ListClusters", _all, act=_list),
            "DeleteCluster": Operation("eks:DeleteCluster", _one("name"), act=_delete, later=self._forget),
        }

    async def _serve(self, call: Call, answer: Answer) -> Answer:
        """Serve the issuer of a new cluster, in place of one that a deleted cluster of this name had."""
        cluster = answer["cluster"]
        name = ClusterName(cluster["name"])
        served = self._issuers.of_cluster(name)
        if served is None or served.url != _issuer(cluster):
            row = await self._database.run(lambda tx: cluster_row(tx, name))
            self._issuers.drop(name)
            self._issuers.add(name, row["issuer"], SigningKey.from_pem(row["private_key"]))
        return answer

    async def _forget(self, call: Call, answer: Answer) -> Answer:
        cluster = answer["cluster"]
        name = ClusterName(cluster["name"])
        served = self._issuers.of_cluster(name)
        if served is not None and served.url == _issuer(cluster):
            self._issuers.drop(name)
        return answer


def _issuer(cluster: Answer) -> str:
    issuer: str = cluster["identity"]["oidc"]["issuer"]
    return issuer


def _one(member: str) -> Callable[[Tx, Call], Target]:
    def target(_tx: Tx, call: Call) -> Target:
        arn = call.world.eks_arn(f"cluster/{call.params[member]}")
        return Target(arn, arn)

    return target


def _all(_tx: Tx, call: Call) -> Target:
    arn = call.world.eks_arn("cluster/*")
    return Target(arn, arn)


def _create(tx: Tx, call: Call) -> Answer:
    """Answer CreateCluster. The same client token answers the first result again."""
    params = call.params
    try:
        name = ClusterName.parse(params["name"])
    except BadName as fault:
        raise ServiceError("InvalidParameterException", fault.message) from None
    token = params.get("clientRequestToken")
    existing = tx.execute("SELECT * FROM clusters WHERE name = ?", (name,)).fetchone()
    if existing is not None:
        if token is not None and existing["client_token"] == token:
            return {"cluster": described(call.world, existing)}
        raise ServiceError("ResourceInUseException", f"Cluster already exists with name: {name}", status=409)
    (count,) = tx.execute("SELECT count(*) FROM clusters").fetchone()
    if count >= MOST_CLUSTERS:
        raise ServiceError("ResourceLimitExceededException", f"This account has {MOST_CLUSTERS} clusters already.")
    key = SigningKey.generate()
    tx.execute(
        "INSERT INTO clusters (name, issuer, kid, private_key, version, role_arn, vpc, tags, client_token, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            f"{call.world.url}/id/{ids.issuer_id()}",
            key.kid,
            key.pem(),
            params.get("version", KUBERNETES_VERSION),
            params["roleArn"],
            msgspec.json.encode(params["resourcesVpcConfig"]).decode(),
            msgspec.json.encode(params.get("tags") or {}).decode(),
            token,
            call.now,
        ),
    )
    return {"cluster": described(call.world, cluster_row(tx, name))}


def _describe(tx: Tx, call: Call) -> Answer:
    return {"cluster": described(call.world, cluster_row(tx, call.params["name"]))}


def _list(tx: Tx, call: Call) -> Answer:
    most = call.params.get("maxResults", 100)
    rows = tx.execute(
        "SELECT name FROM clusters WHERE name > ? ORDER BY name LIMIT ?",
        (call.params.get("nextToken", ""), most + 1),
    ).fetchall()
    names = [row["name"] for row in rows[:most]]
    return {"clusters": names} | ({"nextToken": names[-1]} if len(rows) > most else {})


def _delete(tx: Tx, call: Call) -> Answer:
    row = cluster_row(tx, call.params["name"])
    tx.execute("DELETE FROM clusters WHERE name = ?", (row["name"],))
    return {"cluster": described(call.world, row, status="DELETING")}

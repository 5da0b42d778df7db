"""The plane's one node, as EC2 knows it: an instance whose id lasts, and the role that it has."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.iam.records import Role, find_role_by_name
from rolecall.daemons.local_aws.operations import World
from rolecall.edges import entropy
from rolecall.edges.store.sqlite import Tx

NODE_ROLE = "rolecall-node"
_TRUST = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow",'
    '"Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
)
# What AmazonEKSWorkerNodePolicy, which every node of EKS has, allows of the services that are here.
_POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow",'
    '"Action":["eks:DescribeCluster","eks-auth:AssumeRoleForPodIdentity"],"Resource":"*"}]}'
)


@dataclass(frozen=True, slots=True)
class Instance:
    """What EC2 says of the node. `profile_id` is its instance profile's, which has the name of the role."""

    id: str
    profile_id: str
    launched_at: float


def launch(tx: Tx, world: World, now: float) -> Instance:
    """Return the instance; the first time it is launched, with a role that EC2 may assume.

    A role that is deleted later stays away: an instance without a role is what EC2 has, too.
    """
    found = _kept(tx)
    if found is None:
        found = Instance("i-0" + entropy.token_hex(8), ids.unique_id("AIPA"), now)
        _keep(tx, found)
        _make_role(tx, world, now)
    return found


def node_role(tx: Tx) -> Role | None:
    """Return the role in the instance's profile, or None where somebody has deleted it."""
    return find_role_by_name(tx, NODE_ROLE)


def _kept(tx: Tx) -> Instance | None:
    rows = tx.execute("SELECT key, value FROM plane WHERE key LIKE 'instance%'").fetchall()
    kept = {row["key"]: row["value"] for row in rows}
    if not kept:
        return None
    return Instance(kept["instance"], kept["instance_profile"], float(kept["instance_launched_at"]))


def _keep(tx: Tx, new: Instance) -> None:
    facts = {"instance": new.id, "instance_profile": new.profile_id, "instance_launched_at": str(int(new.launched_at))}
    for key, value in facts.items():
        tx.execute("INSERT INTO plane (key, value) VALUES (?, ?)", (key, value))


def _make_role(tx: Tx, world: World, now: float) -> None:
    if node_role(tx) is not None:  # somebody's own, made before there was an instance
        return
    tx.execute(
        "INSERT INTO roles (name, path, role_id, arn, description, trust, max_session, tags, created_at)"
        " VALUES (?, '/', ?, ?, 'The role of the node that pods run on.', ?, 3600, '{}', ?)",
        (NODE_ROLE, ids.unique_id("AROA"), world.iam_arn(f"role/{NODE_ROLE}"), _TRUST, now),
    )
    tx.execute(
        "INSERT INTO inline_policies (owner, name, document) VALUES (?, 'worker-node', ?)",
        (f"role/{NODE_ROLE}", _POLICY),
    )

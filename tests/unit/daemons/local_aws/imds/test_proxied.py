"""A pod's metadata service behind each proxy: whose role it is, who permits it, and what STS says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Keys, Plane
from rolecall.core.exchange import Reply, Request
from rolecall.daemons.local_aws.apiserver import namespaces, pods, wire
from rolecall.daemons.local_aws.imds.proxied import ProxiedPod
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop

ROLES = "/latest/meta-data/iam/security-credentials/"
KEY = "iam.amazonaws.com/role"
NODE_TRUST = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/rolecall-node"},
    "Action": "sts:AssumeRole",
}


class Node:
    """A plane with roles that its node may assume, and one that it may not."""

    def __init__(self, plane: Plane) -> None:
        self.plane, self.laptop = plane, Laptop(plane)
        for name, trust in (("carts", NODE_TRUST), ("orders", NODE_TRUST), ("shut", None)):
            other = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
            document = json.dumps({"Version": "2012-10-17", "Statement": [trust or other]})
            plane.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)

    def annotate(self, **annotations: str) -> None:
        """Annotate the namespace ``team``."""
        named = {f"iam.amazonaws.com/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.write(lambda tx: namespaces.annotate(tx, CLUSTER, "team", wire.Annotations(named)))

    def pod(self, proxy: wire.Proxy, role: str = "", **environment: str) -> Pod:
        """Run a pod in ``team`` behind a proxy."""
        spec = wire.NewPod("team", "web", proxy, {KEY: role} if role else {}, environment)
        made = self.write(lambda tx: pods.register(tx, CLUSTER, spec, self.plane.clock.now()))
        door = ProxiedPod(self.plane.imds_node, self.plane.doors.dialects[proxy], made, spec, "127.80.0.1")
        return Pod(self.plane, made, door)

    def write(self, work: Callable[[Any], Any]) -> Any:
        """Do something in the database."""
        return self.plane.run(self.plane.database.run(work))


class Pod:
    """A pod that asks its metadata service."""

    def __init__(self, plane: Plane, pod: wire.Pod, door: ProxiedPod) -> None:
        self.plane, self.pod, self.door = plane, pod, door

    def get(self, path: str) -> Reply:
        """Ask for a path."""
        request = Request("GET", path, (("host", "127.80.0.1:40000"),), peer="127.0.0.1")
        reply: Reply = self.plane.run(self.door.answer(request))
        return reply

    def credentials(self, role: str) -> dict[str, Any]:
        """Return the credentials of a role, which must be given."""
        reply = self.get(ROLES + role)
        assert reply.status == 200, reply
        found: dict[str, Any] = json.loads(reply.body)
        return found

    def arn(self, role: str) -> str:
        """Return whom those credentials make."""
        found = self.credentials(role)
        keys = Keys.of({**found, "SessionToken": found["Token"], "SecretAccessKey": found["SecretAccessKey"]})
        return str(self.plane.client("sts", keys).get_caller_identity()["Arn"])


@pytest.fixture
def node(plane: Plane) -> Node:
    """A node with three roles."""
    return Node(plane)


def test_kube2iam_gives_each_pod_the_role_of_its_annotation(node: Node) -> None:
    """By name or by ARN; its session is STS's, assumed with the node's own role. Another's is "Invalid role"."""
    carts, orders = node.pod("kube2iam", "carts"), node.pod("kube2iam", f"arn:aws:iam::{ACCOUNT}:role/orders")
    assert (carts.get(ROLES).body, orders.get(ROLES).body) == (b"carts", b"orders")
    # FNV-1a of the address, then the role (kube2iam, iam/iam.go sessionName)
    assert carts.arn("carts").startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/carts/")
    assert orders.arn("orders").startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/orders/")
    assert (carts.get(f"{ROLES}orders").status, carts.get(f"{ROLES}orders").body) == (403, b"Invalid role orders\n")
    nobody = node.pod("kube2iam")
    assert (nobody.get(ROLES).status, nobody.get(f"{ROLES}carts").status) == (200, 403)
    assert nobody.get(ROLES).body == b"", "kube2iam lists nothing where a base is set"


def test_the_nodes_own_role_is_nobodys(node: Node) -> None:
    """Neither by its name nor by the profile: what the node may do stays the node's."""
    pod = node.pod("kube2iam", "carts")
    assert pod.get(f"{ROLES}rolecall-node").status == 403
    assert pod.get("/latest/meta-data/iam/info").status == 404
    assert pod.get("/latest/meta-data/placement/region").body == b"us-west-2"
    annotated = node.pod("kube2iam", "rolecall-node")
    assert annotated.get(f"{ROLES}rolecall-node").status == 500, "its trust policy admits EC2, and not itself"


def test_kube2iam_heeds_the_namespace_where_it_is_told_to(tmp_path: Path) -> None:
    """``--namespace-restrictions``: nothing is allowed that ``allowed-roles`` does not name."""
    with Plane.open(tmp_path, namespace_restrictions=True) as plane:
        node = Node(plane)
        pod = node.pod("kube2iam", "carts")
        assert pod.get(f"{ROLES}carts").status == 404
        node.annotate(allowed_roles='["orders*"]')
        assert pod.get(f"{ROLES}carts").status == 404
        node.annotate(allowed_roles='["orders*", "carts"]')
        assert pod.arn("carts")


def test_kiam_gives_what_the_namespace_permits(node: Node) -> None:
    """Without the annotation nothing; the expression matches whole ARNs; another role is the same sentence."""
    pod = node.pod("kiam", "carts")
    assert pod.get(ROLES).body == b"carts"
    for permitted in ("", "carts", ".*/orders"):
        node.annotate(permitted=permitted)
        refused = pod.get(f"{ROLES}carts")
        assert (refused.status, refused.body) == (500, b"error fetching credentials: forbidden by policy\n")
    node.annotate(permitted=".*/(carts|orders)")
    assert "assumed-role/carts/kiam-kiam" in pod.arn("carts")
    assert pod.get(f"{ROLES}orders").status == 500
    assert pod.get("/ping").body == b"pong"


def test_metadataproxy_reads_the_containers_variable(node: Node) -> None:
    """IAM_ROLE, by name or ARN; a container that narrows it, or has none, gets nothing."""
    pod = node.pod("metadataproxy", IAM_ROLE="carts")
    assert pod.get(ROLES).body == b"carts"
    assert "assumed-role/carts/devproxyauth" in pod.arn("carts")
    assert [pod.get(ROLES + name).status for name in ("orders", "rolecall-node")] == [404, 404]
    for environment in ({}, {"IAM_ROLE": "carts", "IAM_POLICY": "{}"}):
        other = node.pod("metadataproxy", **environment)
        assert [other.get(path).status for path in (ROLES, f"{ROLES}carts")] == [404, 404]


@pytest.mark.parametrize("proxy", ["kube2iam", "kiam", "metadataproxy"])
def test_what_sts_denies_is_told(node: Node, proxy: wire.Proxy) -> None:
    """The role's own trust policy decides in the end: 500, and AWS's words."""
    node.annotate(permitted=".*")
    reply = node.pod(proxy, "shut", IAM_ROLE="shut").get(f"{ROLES}shut")
    assert reply.status == 500
    assert b"assumed-role/rolecall-node/i-0" in reply.body
    assert b"is not authorized to perform: sts:AssumeRole" in reply.body


@pytest.mark.parametrize("proxy", ["kube2iam", "kiam", "metadataproxy"])
def test_a_pod_that_has_ended_is_nobody(node: Node, proxy: wire.Proxy) -> None:
    """Whoever still asks at its listener, and one that fell silent: nothing more is given."""
    node.annotate(permitted=".*")
    ended, silent = (node.pod(proxy, "carts", IAM_ROLE="carts") for _ in range(2))
    assert ended.credentials("carts")["Code"] == "Success"
    uid, now = ended.pod.uid, node.plane.clock.now()
    node.write(lambda tx: pods.end(tx, CLUSTER, uid, now))
    assert ended.get(f"{ROLES}carts").status >= 400
    node.plane.advance(61)
    assert silent.get(f"{ROLES}carts").status >= 400


def test_each_pod_has_a_session_of_its_own(node: Node) -> None:
    """The same one for itself until half of its life is over; never another pod's, though the role is the same."""
    first, second = node.pod("kube2iam", "carts"), node.pod("kube2iam", "carts")
    mine = first.credentials("carts")["AccessKeyId"]
    assert second.credentials("carts")["AccessKeyId"] != mine
    for uid in (first.pod.uid, second.pod.uid):
        node.write(lambda tx, u=uid: pods.heartbeat(tx, CLUSTER, u, 2e9))
    node.plane.advance(1700)
    assert first.credentials("carts")["AccessKeyId"] == mine
    node.plane.advance(101)
    assert first.credentials("carts")["AccessKeyId"] != mine


def test_a_token_is_its_pods(node: Node) -> None:
    """One pod's session token opens nothing at another's service."""
    ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60")
    mine, other = node.pod("kube2iam", "carts"), node.pod("kube2iam", "orders")
    host = ("host", "169.254.169.254")
    given = node.plane.run(mine.door.answer(Request("PUT", "/latest/api/token", (host, ttl)))).body.decode()
    shown = (host, ("x-aws-ec2-metadata-token", given))
    assert node.plane.run(mine.door.answer(Request("GET", ROLES, shown))).status == 200
    assert node.plane.run(other.door.answer(Request("GET", ROLES, shown))).status == 401


def test_a_node_without_a_role_can_assume_none(node: Node) -> None:
    """As on EC2: the proxies are only as good as the node's own credentials."""
    iam = node.plane.client("iam")
    iam.delete_role_policy(RoleName="rolecall-node", PolicyName="worker-node")
    iam.delete_role(RoleName="rolecall-node")
    reply = node.pod("kube2iam", "carts").get(f"{ROLES}carts")
    assert (reply.status, reply.reason) == (500, "Upstream")


def test_a_role_that_is_deleted_is_not_given_on(node: Node) -> None:
    """A session that is still held is of no use to anybody then: STS does not know it any more."""
    pod = node.pod("kube2iam", "carts")
    found = pod.credentials("carts")
    node.plane.client("iam").delete_role(RoleName="carts")
    keys = Keys.of({**found, "SessionToken": found["Token"]})
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        node.plane.client("sts", keys).get_caller_identity()

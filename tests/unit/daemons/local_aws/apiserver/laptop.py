"""What the tests of the plane's Kubernetes side and of EKS share: clusters, roles, pods and tokens in few words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plane_in_process import ACCOUNT, Keys, Plane
from rolecall.core.exchange import Reply

CLUSTER = "demo"
SUBNETS = {"subnetIds": ["subnet-1", "subnet-2"]}
CLUSTER_ROLE = f"arn:aws:iam::{ACCOUNT}:role/eks"
# EKS User Guide, "Create IAM role with trust policy required by EKS Pod Identity".
POD_IDENTITY_TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
}


def document(*statements: Mapping[str, Any]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


class Laptop:
    """A plane with a cluster ``demo``."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.eks = plane.client("eks")
        self.iam = plane.client("iam")
        self.cluster(CLUSTER)

    def cluster(self, name: str) -> dict[str, Any]:
        """Make a cluster."""
        made: dict[str, Any] = self.eks.create_cluster(name=name, roleArn=CLUSTER_ROLE, resourcesVpcConfig=SUBNETS)
        return made["cluster"]

    def role(self, name: str, *trust: Mapping[str, Any], allow: Sequence[str] = ()) -> str:
        """Make a role, which trusts Pod Identity unless told otherwise, and may do what `allow` names."""
        made = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(*(trust or (POD_IDENTITY_TRUST,))))
        if allow:
            policy = document({"Effect": "Allow", "Action": list(allow), "Resource": "*"})
            self.iam.put_role_policy(RoleName=name, PolicyName="allow", PolicyDocument=policy)
        arn: str = made["Role"]["Arn"]
        return arn

    def associate(self, role: str, service_account: str = "demo-sa", **more: Any) -> dict[str, Any]:
        """Associate a service account of ``demo-ns`` with a role."""
        given = {"clusterName": CLUSTER, "namespace": "demo-ns", "serviceAccount": service_account, "roleArn": role}
        made: dict[str, Any] = self.eks.create_pod_identity_association(**(given | more))
        return made["association"]

    def ask(
        self, method: str, path: str, body: Any = None, *, keys: Keys | None = None, raw: bytes | None = None
    ) -> Reply:
        """Return the reply of ``/_rolecall/v1``."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        target = "/_rolecall/v1" + path
        return self.plane.call(self.plane.signed(method, target, data, service="rolecall", keys=keys))

    def told(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the answer of ``/_rolecall/v1`` to the admin; an error fails the test."""
        reply = self.ask(method, path, body)
        assert reply.status == 200, reply.body
        answer: dict[str, Any] = json.loads(reply.body)
        return answer

    def pod(self, service_account: str = "demo-sa", *, cluster: str = CLUSTER) -> dict[str, Any]:
        """Register a pod of a service account of ``demo-ns``."""
        return self.told(
            "POST", f"/clusters/{cluster}/pods", {"namespace": "demo-ns", "serviceAccount": service_account}
        )

    def token(
        self,
        pod: Mapping[str, Any] | None = None,
        *,
        audience: str = "pods.eks.amazonaws.com",
        seconds: int = 3600,
        cluster: str = CLUSTER,
        service_account: str = "demo-sa",
    ) -> str:
        """Return a token, bound to the pod where there is one."""
        wanted = {
            "namespace": "demo-ns",
            "serviceAccount": pod["serviceAccount"] if pod else service_account,
            "audience": audience,
            "expirationSeconds": seconds,
        }
        token: str = self.told("POST", f"/clusters/{cluster}/tokens", wanted | ({"podUid": pod["uid"]} if pod else {}))[
            "token"
        ]
        return token

    def session(self, access_key_id: str) -> dict[str, Any]:
        """Return what the plane knows of a session."""
        return self.told("GET", f"/sessions/{access_key_id}")


def fault(reply: Reply) -> tuple[int, str]:
    """Return the status and the code of a JSON error; any other reply fails the test."""
    headers = dict(reply.headers)
    found = json.loads(reply.body)
    assert reply.status >= 400, reply.body
    assert headers["content-type"] == "application/json"
    assert headers["x-amzn-requestid"]
    assert found["__type"] == headers["x-amzn-errortype"]
    assert found["message"]
    return reply.status, found["__type"]

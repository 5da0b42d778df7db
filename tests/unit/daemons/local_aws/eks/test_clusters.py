"""EKS clusters, by unmodified botocore: an issuer that never changes, and AWS's answers and errors."""

from __future__ import annotations

import json
import re

import jwt
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from plane_in_process import ACCOUNT, HOST, URL, Keys, Plane
from rolecall.core.exchange import Reply, Request
from rolecall.daemons.local_aws.eks.clusters import Clusters
from rolecall.daemons.local_aws.operations import Call
from unit.daemons.local_aws.apiserver.laptop import CLUSTER_ROLE, SUBNETS, Laptop, document, fault


def get(plane: Plane, url: str) -> Reply:
    """Return an open page, asked for without a signature."""
    assert url.startswith(URL)
    return plane.call(Request("GET", url.removeprefix(URL), HOST))


def test_a_cluster_is_active_at_once(plane: Plane) -> None:
    """What DescribeCluster says, and that the waiter's first look is its last."""
    eks = plane.client("eks")
    made = eks.create_cluster(name="demo", roleArn=CLUSTER_ROLE, resourcesVpcConfig=SUBNETS, tags={"team": "x"})
    eks.get_waiter("cluster_active").wait(name="demo")
    cluster = eks.describe_cluster(name="demo")["cluster"]
    assert made["cluster"] == cluster
    assert (cluster["name"], cluster["status"]) == ("demo", "ACTIVE")
    assert cluster["arn"] == f"arn:aws:eks:us-west-2:{ACCOUNT}:cluster/demo"
    assert cluster["roleArn"] == CLUSTER_ROLE
    assert cluster["tags"] == {"team": "x"}
    assert cluster["resourcesVpcConfig"]["subnetIds"] == ["subnet-1", "subnet-2"]
    assert abs(cluster["createdAt"].timestamp() - plane.clock.now()) < 0.002
    assert re.fullmatch(rf"{URL}/id/[0-9A-F]{{32}}", cluster["identity"]["oidc"]["issuer"])


def test_the_issuer_is_real(plane: Plane) -> None:
    """Discovery and keys are open pages as EKS serves them, and PyJWT verifies a token with them."""
    laptop = Laptop(plane)
    issuer = laptop.eks.describe_cluster(name="demo")["cluster"]["identity"]["oidc"]["issuer"]
    discovery = get(plane, f"{issuer}/.well-known/openid-configuration")
    headers = dict(discovery.headers)
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "max-age=604800")
    found = json.loads(discovery.body)
    assert found["issuer"] == issuer
    assert found["jwks_uri"] == f"{issuer}/keys"
    assert found["response_types_supported"] == ["id_token"]
    assert found["subject_types_supported"] == ["public"]
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    (jwk,) = json.loads(get(plane, found["jwks_uri"]).body)["keys"]
    token = laptop.token(laptop.pod())
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": jwk["kid"]}
    claims = jwt.decode(
        token, jwt.PyJWK(jwk).key, algorithms=["RS256"], audience="pods.eks.amazonaws.com", issuer=issuer
    )
    assert claims["sub"] == "system:serviceaccount:demo-ns:demo-sa"


def test_the_issuer_is_fixed_at_creation(plane: Plane) -> None:
    """A restart keeps name, issuer and key; a new cluster of the same name is another one."""
    laptop = Laptop(plane)
    issuer = laptop.eks.describe_cluster(name="demo")["cluster"]["identity"]["oidc"]["issuer"]
    keys = get(plane, f"{issuer}/keys").body
    plane.restart()
    assert plane.client("eks").describe_cluster(name="demo")["cluster"]["identity"]["oidc"]["issuer"] == issuer
    assert get(plane, f"{issuer}/keys").body == keys
    assert plane.clusters == {issuer: "demo"}
    plane.client("eks").delete_cluster(name="demo")
    again = laptop.cluster("demo")["identity"]["oidc"]["issuer"]
    assert again != issuer
    assert plane.clusters == {again: "demo"}
    assert get(plane, f"{issuer}/keys").status != 200
    assert get(plane, f"{again}/keys").body != keys


def test_a_name_is_taken_once(plane: Plane) -> None:
    """409 ResourceInUseException, and the first cluster stays as it was."""
    laptop = Laptop(plane)
    before = plane.tables()["clusters"]
    with pytest.raises(ClientError) as caught:
        laptop.cluster("demo")
    assert caught.value.response["Error"]["Code"] == "ResourceInUseException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert caught.value.response["Error"]["Message"] == "Cluster already exists with name: demo"
    assert plane.tables()["clusters"] == before


def test_the_same_client_token_answers_the_first_result(plane: Plane) -> None:
    """A retry of a call whose answer was lost is no second cluster."""
    eks = plane.client("eks")
    asked = {"name": "demo", "roleArn": CLUSTER_ROLE, "resourcesVpcConfig": SUBNETS, "clientRequestToken": "t" * 36}
    assert eks.create_cluster(**asked)["cluster"] == eks.create_cluster(**asked)["cluster"]
    assert eks.list_clusters()["clusters"] == ["demo"]


def test_clusters_are_listed_in_pages(plane: Plane) -> None:
    """maxResults and nextToken, through botocore's paginator."""
    laptop = Laptop(plane)
    for name in ("c", "a", "b", "z"):
        laptop.cluster(name)
    pages = laptop.eks.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2})
    assert [page["clusters"] for page in pages] == [["a", "b"], ["c", "demo"], ["z"]]
    assert "nextToken" not in laptop.eks.list_clusters(maxResults=5)


def test_a_deleted_cluster_takes_everything_with_it(plane: Plane) -> None:
    """Associations, add-ons, pods and the issuer go; the waiter sees it at once."""
    laptop = Laptop(plane)
    laptop.associate(laptop.role("demo"))
    laptop.eks.create_addon(clusterName="demo", addonName="eks-pod-identity-agent")
    laptop.pod()
    assert laptop.eks.delete_cluster(name="demo")["cluster"]["status"] == "DELETING"
    laptop.eks.get_waiter("cluster_deleted").wait(name="demo")
    tables = plane.tables()
    assert [name for name in ("clusters", "associations", "addons", "pods", "service_accounts") if tables[name]] == []
    assert plane.clusters == {}


@pytest.mark.parametrize("operation", ["describe_cluster", "delete_cluster"])
def test_an_unknown_cluster(refusing: Laptop, operation: str) -> None:
    """404 in AWS's words."""
    with pytest.raises(ClientError) as caught:
        getattr(refusing.eks, operation)(name="nowhere")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert caught.value.response["Error"] == {
        "Code": "ResourceNotFoundException",
        "Message": "No cluster found for name: nowhere.",
    }


@pytest.mark.parametrize("name", ["-a", "a b", "a/b", "ä", "a" * 101])
def test_illegal_names_write_nothing(refusing: Laptop, name: str) -> None:
    """The model's pattern and length; botocore leaves the pattern to the server."""
    eks = refusing.eks
    with pytest.raises((ClientError, ParamValidationError)) as caught:
        eks.create_cluster(name=name, roleArn=CLUSTER_ROLE, resourcesVpcConfig=SUBNETS)
    if isinstance(caught.value, ClientError):
        assert caught.value.response["Error"]["Code"] == "InvalidParameterException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert [row[0] for row in refusing.plane.tables()["clusters"]] == ["demo"]


BODIES = {
    "nothing": b"",
    "not JSON": b"name=demo",
    "a list": b"[]",
    "a number for a name": b'{"name": 1, "roleArn": "r", "resourcesVpcConfig": {}}',
    "no role": b'{"name": "new", "resourcesVpcConfig": {}}',
    "a list for a structure": b'{"name": "new", "roleArn": "r", "resourcesVpcConfig": []}',
    "tags that are no texts": b'{"name": "new", "roleArn": "r", "resourcesVpcConfig": {}, "tags": {"a": 1}}',
    "deep": b'{"name":' + b"[" * 50_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_unreadable_requests_write_nothing(refusing: Laptop, body: bytes) -> None:
    """A JSON error of 400, and no cluster."""
    status, code = fault(refusing.plane.call(refusing.plane.signed("POST", "/clusters", body, service="eks")))
    assert status == 400
    assert code in ("InvalidParameterException", "InvalidRequestException")
    assert [row[0] for row in refusing.plane.tables()["clusters"]] == ["demo"]


def test_operations_that_are_not_offered_say_so(refusing: Laptop) -> None:
    """501 with the operation's name, as JSON: never HTML, never a lie."""
    with pytest.raises(ClientError) as caught:
        refusing.eks.list_nodegroups(clusterName="demo")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "eks:ListNodegroups" in caught.value.response["Error"]["Message"]


def test_policies_decide_by_the_clusters_arn(plane: Plane) -> None:
    """A role that may describe one cluster may not describe another, nor delete the one."""
    laptop = Laptop(plane)
    laptop.cluster("other")
    laptop.role("reader", {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    one = {"Effect": "Allow", "Action": "eks:DescribeCluster", "Resource": f"arn:aws:eks:*:{ACCOUNT}:cluster/demo"}
    laptop.iam.put_role_policy(RoleName="reader", PolicyName="one", PolicyDocument=document(one))
    arn = f"arn:aws:iam::{ACCOUNT}:role/reader"
    session = plane.client("sts").assume_role(RoleArn=arn, RoleSessionName="me")
    eks = plane.client("eks", Keys.of(session["Credentials"]))
    assert eks.describe_cluster(name="demo")["cluster"]["name"] == "demo"
    for denied in (lambda: eks.describe_cluster(name="other"), lambda: eks.delete_cluster(name="demo")):
        with pytest.raises(ClientError, match="AccessDeniedException"):
            denied()


def test_a_name_that_is_deleted_and_made_again_at_once_keeps_the_new_issuer(plane: Plane) -> None:
    """Two calls whose transactions are done may finish in any order: the kept cluster's issuer is the served one."""
    old = Laptop(plane).eks.describe_cluster(name="demo")["cluster"]["identity"]["oidc"]["issuer"]
    table = Clusters(plane.issuers, plane.database).operations()
    params = {"name": "demo", "roleArn": CLUSTER_ROLE, "resourcesVpcConfig": SUBNETS}
    call = Call(plane.world, Request("POST", "/clusters", HOST), params, None, plane.clock.now(), "r-1")

    async def race() -> str:
        answers = {}
        for name in ("DeleteCluster", "CreateCluster"):
            act = table[name].act
            assert act is not None
            answers[name] = await plane.database.run(lambda tx, act=act: act(tx, call))
        for name in ("CreateCluster", "DeleteCluster"):
            later = table[name].later
            assert later is not None
            await later(call, answers[name])
        issuer: str = answers["CreateCluster"]["cluster"]["identity"]["oidc"]["issuer"]
        return issuer

    new = plane.run(race())
    assert plane.clusters == {new: "demo"}
    assert get(plane, f"{new}/keys").status == 200
    assert get(plane, f"{old}/keys").status != 200

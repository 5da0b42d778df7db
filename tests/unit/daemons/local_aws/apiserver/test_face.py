"""Who may be kube-apiserver on a laptop: the admin key, nobody else. An unsigned mint would be game over."""

from __future__ import annotations

import json

import pytest

from plane_in_process import ACCOUNT, HOST, Keys, Plane
from rolecall.core.exchange import Request
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop, fault

NEW_POD = {"namespace": "demo-ns", "serviceAccount": "demo-sa"}
CALLS = {
    "ListClusters": ("GET", "/clusters", None),
    "ListServiceAccounts": ("GET", f"/clusters/{CLUSTER}/serviceaccounts", None),
    "GetServiceAccount": ("GET", f"/clusters/{CLUSTER}/serviceaccounts/demo-ns/demo-sa", None),
    "AnnotateServiceAccount": ("PUT", f"/clusters/{CLUSTER}/serviceaccounts/demo-ns/demo-sa", {"annotations": {}}),
    "CreatePod": ("POST", f"/clusters/{CLUSTER}/pods", NEW_POD),
    "ListPods": ("GET", f"/clusters/{CLUSTER}/pods", None),
    "HeartbeatPod": ("POST", f"/clusters/{CLUSTER}/pods/POD/heartbeat", None),
    "DeletePod": ("DELETE", f"/clusters/{CLUSTER}/pods/POD", None),
    "CreateToken": ("POST", f"/clusters/{CLUSTER}/tokens", NEW_POD | {"audience": "sts.amazonaws.com"}),
    "GetSession": ("GET", "/sessions/KEY", None),
}


@pytest.fixture
def laptop(plane: Plane) -> Laptop:
    """A cluster, and a role that may do everything."""
    made = Laptop(plane)
    made.role("all", {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}, allow=["*"])
    return made


def everything(laptop: Laptop) -> Keys:
    """Return a session of the role that may do everything."""
    arn = f"arn:aws:iam::{ACCOUNT}:role/all"
    return Keys.of(laptop.plane.client("sts").assume_role(RoleArn=arn, RoleSessionName="me")["Credentials"])


@pytest.mark.parametrize(("method", "path", "body"), CALLS.values(), ids=CALLS)
def test_the_admin_key_only(laptop: Laptop, method: str, path: str, body: object) -> None:
    """Not a session with Allow *, not the node, not a wrong signature, not without one; nothing is written."""
    plane = laptop.plane
    session = everything(laptop)
    path = path.replace("POD", laptop.pod()["uid"]).replace("KEY", session.access_key_id)
    before = plane.tables()
    for keys in (session, plane.node):
        assert fault(laptop.ask(method, path, body, keys=keys)) == (403, "AccessDeniedException")
    wrong = Keys(plane.admin.access_key_id, plane.node.secret)
    assert fault(laptop.ask(method, path, body, keys=wrong)) == (403, "InvalidSignatureException")
    data = b"" if body is None else json.dumps(body).encode()
    unsigned = plane.call(Request(method, "/_rolecall/v1" + path, HOST, data))
    assert fault(unsigned) == (403, "MissingAuthenticationTokenException")
    assert plane.tables() == before
    assert laptop.ask(method, path, body).status == 200


def test_a_signature_for_another_service_does_not_open_it(laptop: Laptop) -> None:
    """The credential scope routes: what was signed for EKS is no call of this face, whatever its path."""
    plane = laptop.plane
    body = json.dumps(NEW_POD | {"audience": "a"}).encode()
    for service in ("eks", "sts", "iam", "eks-auth"):
        reply = plane.call(plane.signed("POST", f"/_rolecall/v1/clusters/{CLUSTER}/tokens", body, service=service))
        assert reply.status >= 400
        assert b'"token"' not in reply.body


def test_a_second_admin_key_works_and_an_inactive_one_does_not(laptop: Laptop) -> None:
    """The right is the user's, not one key's."""
    made = laptop.iam.create_access_key(UserName="admin")["AccessKey"]
    folded = {"accesskeyid": made["AccessKeyId"], "secretaccesskey": made["SecretAccessKey"], "sessiontoken": ""}
    second = Keys(folded["accesskeyid"], Keys.of(folded).secret)
    assert laptop.ask("GET", "/clusters", keys=second).status == 200
    laptop.iam.update_access_key(UserName="admin", AccessKeyId=second.access_key_id, Status="Inactive")
    assert fault(laptop.ask("GET", "/clusters", keys=second)) == (403, "UnrecognizedClientException")


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "/nothing", (404, "UnknownOperationException")),
        ("GET", "/clusters/", (404, "UnknownOperationException")),
        ("GET", "/../v1/clusters", (404, "UnknownOperationException")),
        ("POST", "/clusters", (405, "MethodNotAllowedException")),
        ("GET", f"/clusters/{CLUSTER}/tokens", (405, "MethodNotAllowedException")),
        ("GET", "/clusters/nowhere/pods", (404, "ResourceNotFoundException")),
        ("GET", "/clusters/%00/pods", (404, "ResourceNotFoundException")),
        ("GET", f"/clusters/{CLUSTER}/serviceaccounts/Demo/sa", (400, "InvalidParameterException")),
        ("GET", f"/clusters/{CLUSTER}/serviceaccounts/a%2Fb/sa", (400, "InvalidParameterException")),
        ("GET", "/sessions/ASIANOTHING", (404, "ResourceNotFoundException")),
        ("DELETE", f"/clusters/{CLUSTER}/pods/nothing", (404, "ResourceNotFoundException")),
        ("POST", f"/clusters/{CLUSTER}/pods/nothing/heartbeat", (404, "ResourceNotFoundException")),
    ],
)
def test_what_is_not_there(refusing: Laptop, method: str, path: str, wanted: tuple[int, str]) -> None:
    """A JSON error of the right status."""
    assert fault(refusing.ask(method, path)) == wanted


def test_clusters_are_told_with_their_issuers(laptop: Laptop) -> None:
    """By name; what rolecall run needs to choose one."""
    laptop.cluster("a")
    found = laptop.told("GET", "/clusters")["clusters"]
    assert [one["name"] for one in found] == ["a", "demo"]
    for one in found:
        cluster = laptop.eks.describe_cluster(name=one["name"])["cluster"]
        assert one == {
            "name": cluster["name"],
            "arn": cluster["arn"],
            "issuer": cluster["identity"]["oidc"]["issuer"],
            "region": "us-west-2",
        }


def test_a_session_is_told_without_its_secrets(laptop: Laptop) -> None:
    """Who it is, what it carries, until when."""
    session = everything(laptop)
    found = laptop.session(session.access_key_id)
    assert found["arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/all/me"
    assert found["accessKeyId"] == session.access_key_id
    assert found["expiresAt"] - found["issuedAt"] == pytest.approx(3600, abs=1)
    assert (found["tags"], found["transitiveTagKeys"]) == ({}, [])
    assert session.token is not None
    for hidden in (session.secret.reveal(), session.token.reveal()):
        assert hidden not in json.dumps(found)

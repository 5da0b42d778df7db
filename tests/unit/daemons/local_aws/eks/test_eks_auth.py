"""EKS Auth as an agent sees it: unmodified botocore asks, the plane answers as AWS does (aws-pod-identity.md §3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from plane_in_process import ACCOUNT, Keys, Plane
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, POD_IDENTITY_TRUST, Laptop, document

SIX = {
    "eks-cluster-arn": f"arn:aws:eks:us-west-2:{ACCOUNT}:cluster/demo",
    "eks-cluster-name": "demo",
    "kubernetes-namespace": "demo-ns",
    "kubernetes-service-account": "demo-sa",
}


@pytest.fixture
def laptop(plane: Plane) -> Laptop:
    """A cluster, a role and its association."""
    made = Laptop(plane)
    made.associate(made.role("demo"))
    return made


def assume(laptop: Laptop, token: str, *, cluster: str = CLUSTER, keys: Keys | None = None) -> dict[str, Any]:
    """Ask for credentials as the node does."""
    client = laptop.plane.client("eks-auth", keys or laptop.plane.node)
    answer: dict[str, Any] = client.assume_role_for_pod_identity(clusterName=cluster, token=token)
    return answer


def refused(laptop: Laptop, token: str, **more: Any) -> ClientError:
    """Return botocore's error; the token must not stand in it."""
    with pytest.raises(ClientError) as caught:
        assume(laptop, token, **more)
    assert token not in str(caught.value.response)
    return caught.value


def code(error: ClientError) -> tuple[int, str]:
    """Return the status and the code."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def test_a_pod_gets_its_role(laptop: Laptop) -> None:
    """Every member of the answer, the session's name, and credentials that work for six hours."""
    pod = laptop.pod()
    association = laptop.eks.list_pod_identity_associations(clusterName=CLUSTER)["associations"][0]
    got = assume(laptop, laptop.token(pod))
    assert got["subject"] == {"namespace": "demo-ns", "serviceAccount": "demo-sa"}
    assert got["audience"] == "pods.eks.amazonaws.com"
    assert got["podIdentityAssociation"] == {
        "associationArn": association["associationArn"],
        "associationId": association["associationId"],
    }
    name = re.fullmatch(rf"arn:aws:sts::{ACCOUNT}:assumed-role/demo/(.+)", got["assumedRoleUser"]["arn"])
    assert name is not None
    assert re.fullmatch(
        rf"eks-demo-{re.escape(pod['name'][:10])}-[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}", name[1]
    )
    assert re.fullmatch(rf"AROA[A-Z2-7]{{17}}:{re.escape(name[1])}", got["assumedRoleUser"]["assumeRoleId"])
    assert got["credentials"]["expiration"].timestamp() == int(laptop.plane.clock.now()) + 21_600
    pods_own = Keys.of(got["credentials"])
    identity = laptop.plane.client("sts", pods_own).get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == (ACCOUNT, got["assumedRoleUser"]["arn"])
    assert identity["UserId"] == got["assumedRoleUser"]["assumeRoleId"]
    laptop.plane.advance(21_600)
    with pytest.raises(ClientError, match="ExpiredToken"):
        laptop.plane.client("sts", pods_own).get_caller_identity()


def test_the_session_carries_six_transitive_tags(laptop: Laptop) -> None:
    """Names and values of EKS's documentation; the pod's are those of the token's pod."""
    pod = laptop.pod()
    session = laptop.session(assume(laptop, laptop.token(pod))["credentials"]["accessKeyId"])
    assert session["tags"] == SIX | {"kubernetes-pod-name": pod["name"], "kubernetes-pod-uid": pod["uid"]}
    assert set(session["transitiveTagKeys"]) == set(session["tags"])


def test_one_role_serves_two_clusters(laptop: Laptop) -> None:
    """The role stays as it is; each pod's session says which cluster it is of."""
    other = laptop.cluster("second")["arn"]
    laptop.associate(f"arn:aws:iam::{ACCOUNT}:role/demo", clusterName="second")
    token = laptop.token(laptop.pod(cluster="second"), cluster="second")
    got = assume(laptop, token, cluster="second")
    tags = laptop.session(got["credentials"]["accessKeyId"])["tags"]
    assert (tags["eks-cluster-name"], tags["eks-cluster-arn"]) == ("second", other)
    assert got["assumedRoleUser"]["arn"].startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/demo/eks-second-")
    assert code(refused(laptop, token)) == (400, "InvalidTokenException")


def test_every_answer_is_a_session_of_its_own(laptop: Laptop) -> None:
    """The session's name changes at every fetch."""
    token = laptop.token(laptop.pod())
    first, second = assume(laptop, token), assume(laptop, token)
    assert first["assumedRoleUser"]["arn"] != second["assumedRoleUser"]["arn"]
    assert first["credentials"]["accessKeyId"] != second["credentials"]["accessKeyId"]


def test_the_tags_decide_in_trust_and_identity_policies(laptop: Laptop) -> None:
    """aws:RequestTag at the door of the role, aws:PrincipalTag behind it."""
    only = {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "demo-ns"}}
    laptop.associate(laptop.role("in", POD_IDENTITY_TRUST | {"Condition": only}), "in")
    other = {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "other"}}
    laptop.associate(laptop.role("out", POD_IDENTITY_TRUST | {"Condition": other}), "out")
    own = {
        "Effect": "Allow",
        "Action": "iam:GetRole",
        "Resource": f"arn:aws:iam::{ACCOUNT}:role/${{aws:PrincipalTag/kubernetes-service-account}}",
    }
    laptop.iam.put_role_policy(RoleName="in", PolicyName="own", PolicyDocument=document(own))
    held = Keys.of(assume(laptop, laptop.token(laptop.pod("in")))["credentials"])
    assert laptop.plane.client("iam", held).get_role(RoleName="in")["Role"]["RoleName"] == "in"
    with pytest.raises(ClientError, match="AccessDenied"):
        laptop.plane.client("iam", held).get_role(RoleName="demo")
    assert code(refused(laptop, laptop.token(laptop.pod("out")))) == (400, "AccessDeniedException")


def chained(laptop: Laptop, target_trust: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Associate ``chain`` with a first role and a target role of that trust; return the association."""
    first = laptop.role("first", allow=["sts:AssumeRole", "sts:TagSession"])
    statement = {"Effect": "Allow", "Principal": {"AWS": first}} | target_trust
    return laptop.associate(first, "chain", targetRoleArn=laptop.role("target", statement), **more)


def test_a_target_role_inherits_the_tags(laptop: Laptop) -> None:
    """The pod holds the target's session, 59 minutes long, with the six tags passed on, still transitive."""
    chained(laptop, {"Action": ["sts:AssumeRole", "sts:TagSession"]})
    pod = laptop.pod("chain")
    got = assume(laptop, laptop.token(pod))
    assert f":assumed-role/target/eks-demo-{pod['name'][:10]}-" in got["assumedRoleUser"]["arn"]
    assert got["credentials"]["expiration"].timestamp() == int(laptop.plane.clock.now()) + 3540
    session = laptop.session(got["credentials"]["accessKeyId"])
    assert session["tags"]["kubernetes-service-account"] == "chain"
    assert session["tags"]["kubernetes-pod-uid"] == pod["uid"]
    assert set(session["transitiveTagKeys"]) == set(session["tags"])
    assert len(session["tags"]) == 6


def test_an_external_id_guards_the_target_role(laptop: Laptop) -> None:
    """With tags off: region/account/cluster/namespace/service account, which the association shows too."""
    wanted = f"us-west-2/{ACCOUNT}/demo/demo-ns/chain"
    trust = {"Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": wanted}}}
    assert chained(laptop, trust, disableSessionTags=True)["externalId"] == wanted
    got = assume(laptop, laptop.token(laptop.pod("chain")))
    assert laptop.session(got["credentials"]["accessKeyId"])["tags"] == {}


@pytest.mark.parametrize(
    "trust",
    [
        {"Action": "sts:AssumeRole"},
        {"Action": ["sts:AssumeRole", "sts:TagSession"], "Condition": {"StringEquals": {"sts:ExternalId": "other"}}},
    ],
    ids=["no TagSession for inherited tags", "another external id"],
)
def test_a_chain_that_breaks_hands_out_nothing(laptop: Laptop, trust: dict[str, Any]) -> None:
    """The first session stays inside; the pod is told that the role cannot be had."""
    chained(laptop, trust)
    error = refused(laptop, laptop.token(laptop.pod("chain")))
    assert code(error) == (400, "AccessDeniedException")
    assert error.response["Error"]["Message"] == (
        "Unauthorized Exception! EKS does not have permissions to assume the associated role."
    )


def test_tags_can_be_turned_off(laptop: Laptop) -> None:
    """disableSessionTags: no tag at all, and six hours as ever."""
    laptop.associate(laptop.role("plain"), "plain", disableSessionTags=True)
    got = assume(laptop, laptop.token(laptop.pod("plain")))
    session = laptop.session(got["credentials"]["accessKeyId"])
    assert (session["tags"], session["transitiveTagKeys"]) == ({}, [])


def reforged(token: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a token's header and its changed claims, for signing anew."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.get_unverified_header(token), claims | changes


def forged(laptop: Laptop) -> str:
    header, claims = reforged(laptop.token(laptop.pod()))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": header["kid"]})


def unknown_key(laptop: Laptop) -> str:
    _, claims = reforged(laptop.token(laptop.pod()))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "mine"})


def unsigned(laptop: Laptop) -> str:
    _, claims = reforged(laptop.token(laptop.pod()))
    return jwt.encode(claims, "", algorithm="none") + "AAAA"


def hmac_by_public_key(laptop: Laptop) -> str:
    """The classic: HS256 with the published public key as the secret."""
    header, claims = reforged(laptop.token(laptop.pod()))
    issuer = laptop.plane.issuers.of_cluster(CLUSTER)
    assert issuer is not None
    pem = issuer.keyset.choose(header["kid"]).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in (header | {"alg": "HS256"}, claims)
    ]
    tag = hmac.new(pem, ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join((*parts, base64.urlsafe_b64encode(tag).rstrip(b"=").decode()))


def promoted(laptop: Laptop) -> str:
    """A real token whose claims were changed after it was signed."""
    head, _, tail = laptop.token(laptop.pod("nobody")).split(".")
    _, claims = reforged(laptop.token(laptop.pod()))
    return ".".join((head, base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode(), tail))


def ended(laptop: Laptop) -> str:
    pod = laptop.pod()
    token = laptop.token(pod)
    laptop.told("DELETE", f"/clusters/{CLUSTER}/pods/{pod['uid']}")
    return token


def silent(laptop: Laptop) -> str:
    token = laptop.token(laptop.pod())
    laptop.plane.advance(61)
    return token


def of_another_cluster(laptop: Laptop) -> str:
    laptop.cluster("other")
    return laptop.token(laptop.pod(cluster="other"), cluster="other")


def expired(laptop: Laptop) -> str:
    pod = laptop.pod()
    token = laptop.token(pod, seconds=600)
    for _ in range(12):
        laptop.plane.advance(50)
        laptop.told("POST", f"/clusters/{CLUSTER}/pods/{pod['uid']}/heartbeat")
    return token


def role_gone(laptop: Laptop) -> str:
    laptop.iam.delete_role(RoleName="demo")
    return laptop.token(laptop.pod())


def trust_changed(laptop: Laptop) -> str:
    other = POD_IDENTITY_TRUST | {"Principal": {"Service": "ec2.amazonaws.com"}}
    laptop.iam.update_assume_role_policy(RoleName="demo", PolicyDocument=document(other))
    return laptop.token(laptop.pod())


def tagging_forbidden(laptop: Laptop) -> str:
    laptop.iam.update_assume_role_policy(
        RoleName="demo", PolicyDocument=document(POD_IDENTITY_TRUST | {"Action": "sts:AssumeRole"})
    )
    return laptop.token(laptop.pod())


def association_gone(laptop: Laptop) -> str:
    (one,) = laptop.eks.list_pod_identity_associations(clusterName=CLUSTER)["associations"]
    laptop.eks.delete_pod_identity_association(clusterName=CLUSTER, associationId=one["associationId"])
    return laptop.token(laptop.pod())


FAILURES: dict[str, tuple[Callable[[Laptop], str], int, str]] = {
    "no association": (lambda laptop: laptop.token(laptop.pod("nobody")), 404, "ResourceNotFoundException"),
    "association deleted": (association_gone, 404, "ResourceNotFoundException"),
    "expired": (expired, 400, "ExpiredTokenException"),
    "IRSA's audience": (
        lambda laptop: laptop.token(laptop.pod(), audience="sts.amazonaws.com"),
        400,
        "InvalidTokenException",
    ),
    "not bound to a pod": (lambda laptop: laptop.token(), 400, "InvalidTokenException"),
    "of another cluster": (of_another_cluster, 400, "InvalidTokenException"),
    "forged under the right key id": (forged, 400, "InvalidTokenException"),
    "of an unknown key": (unknown_key, 400, "InvalidTokenException"),
    "alg none": (unsigned, 400, "InvalidTokenException"),
    "HMAC with the public key": (hmac_by_public_key, 400, "InvalidTokenException"),
    "claims changed": (promoted, 400, "InvalidTokenException"),
    "not a token": (lambda _: "aaaaaaaa.bbbbbbbb.cccccccc", 400, "InvalidTokenException"),
    "not even three parts": (lambda _: "aaaaaaaabbbbbbbbcccccccc", 400, "InvalidParameterException"),
    "pod ended": (ended, 400, "InvalidTokenException"),
    "pod fell silent": (silent, 400, "InvalidTokenException"),
    "role deleted": (role_gone, 400, "AccessDeniedException"),
    "trust changed": (trust_changed, 400, "AccessDeniedException"),
    "trust without TagSession": (tagging_forbidden, 400, "AccessDeniedException"),
}


@pytest.mark.parametrize(("prepare", "status", "error"), FAILURES.values(), ids=FAILURES)
def test_failures(laptop: Laptop, prepare: Callable[[Laptop], str], status: int, error: str) -> None:
    """AWS's code and status for each, no session, and the token is not repeated."""
    token = prepare(laptop)
    before = laptop.plane.tables()["sessions"]
    assert code(refused(laptop, token)) == (status, error)
    assert laptop.plane.tables()["sessions"] == before


def test_the_texts_that_aws_was_seen_to_say(laptop: Laptop) -> None:
    """Operators search for these (landscape.md §2.1)."""
    nobody = refused(laptop, laptop.token(laptop.pod("nobody")))
    assert nobody.response["Error"]["Message"] == (
        "The token included in the request has no service account role association for it."
    )
    assert re.fullmatch(
        r"The token included in the request is expired: current date/time \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ must be "
        r"before the expiration date/time \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        refused(laptop, expired(laptop)).response["Error"]["Message"],
    )


def test_a_pod_of_another_service_account_cannot_lend_its_uid(laptop: Laptop) -> None:
    """A token that was signed for one account, and names the pod of another: refused, though the signature is good."""
    pod = laptop.pod("other")
    issuer = laptop.plane.issuers.of_cluster(CLUSTER)
    assert issuer is not None
    _, claims = reforged(laptop.token(laptop.pod()))
    claims["kubernetes.io"]["pod"] = {"name": pod["name"], "uid": pod["uid"]}
    assert code(refused(laptop, issuer.key.sign(claims))) == (400, "InvalidTokenException")


def test_an_unknown_cluster(laptop: Laptop) -> None:
    """404, with the cluster's name."""
    error = refused(laptop, laptop.token(laptop.pod()), cluster="nowhere")
    assert code(error) == (404, "ResourceNotFoundException")
    assert "nowhere" in error.response["Error"]["Message"]


def test_a_silent_pod_that_speaks_again_is_alive(laptop: Laptop) -> None:
    """A laptop that slept wakes up: the next heartbeat is enough. An ended pod stays dead."""
    pod = laptop.pod()
    token = laptop.token(pod)
    laptop.plane.advance(61)
    assert code(refused(laptop, token)) == (400, "InvalidTokenException")
    laptop.told("POST", f"/clusters/{CLUSTER}/pods/{pod['uid']}/heartbeat")
    assert assume(laptop, token)["subject"]["serviceAccount"] == "demo-sa"


def test_who_may_ask(laptop: Laptop) -> None:
    """The node and the admin; a pod's session only if its role says so; nobody without a signature."""
    token = laptop.token(laptop.pod())
    held = Keys.of(assume(laptop, token)["credentials"])
    assert assume(laptop, token, keys=laptop.plane.admin)["credentials"]
    error = refused(laptop, token, keys=held)
    assert code(error) == (403, "AccessDeniedException")
    assert error.response["Error"]["Message"].endswith(
        "is not authorized to perform: eks-auth:AssumeRoleForPodIdentity on resource: "
        f"arn:aws:eks:us-west-2:{ACCOUNT}:cluster/demo because no identity-based policy allows the "
        "eks-auth:AssumeRoleForPodIdentity action"
    )
    with pytest.raises(ClientError) as caught:
        laptop.plane.unsigned_client("eks-auth").assume_role_for_pod_identity(clusterName=CLUSTER, token=token)
    assert code(caught.value) == (403, "MissingAuthenticationTokenException")


def test_the_nodes_key_opens_nothing_else(laptop: Laptop) -> None:
    """It may call EKS Auth and ask who it is, as everyone may; it cannot even list clusters."""
    node = laptop.plane.node
    assert laptop.plane.client("sts", node).get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/node"
    for call in (
        lambda: laptop.plane.client("eks", node).list_clusters(),
        lambda: laptop.plane.client("iam", node).list_roles(),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()


@pytest.mark.parametrize(
    ("method", "target", "body", "wanted"),
    [
        ("GET", f"/clusters/{CLUSTER}/assume-role-for-pod-identity", b"", (405, "MethodNotAllowedException")),
        ("POST", "/clusters/demo/other", b"{}", (404, "UnknownOperationException")),
        ("POST", "/clusters/a%2Fb/assume-role-for-pod-identity", b"{}", (400, "InvalidParameterException")),
        ("POST", f"/clusters/{CLUSTER}/assume-role-for-pod-identity", b"", (400, "InvalidRequestException")),
        ("POST", f"/clusters/{CLUSTER}/assume-role-for-pod-identity", b"[1]", (400, "InvalidRequestException")),
        ("POST", f"/clusters/{CLUSTER}/assume-role-for-pod-identity", b"{}", (400, "InvalidParameterException")),
    ],
    ids=["GET", "another path", "a slash in the name", "no body", "a list", "no token"],
)
def test_requests_that_are_none(laptop: Laptop, method: str, target: str, body: bytes, wanted: tuple[int, str]) -> None:
    """JSON errors with AWS's codes, whatever arrives at the door."""
    plane = laptop.plane
    reply = plane.call(plane.signed(method, target, body, service="eks-auth", keys=plane.node))
    found = json.loads(reply.body)
    assert (reply.status, found["__type"]) == wanted
    assert dict(reply.headers)["x-amzn-errortype"] == wanted[1]


def test_an_answer_is_not_stored_on_the_way(laptop: Laptop) -> None:
    """no-store, JSON, a request id."""
    plane = laptop.plane
    body = json.dumps({"token": laptop.token(laptop.pod())}).encode()
    target = f"/clusters/{CLUSTER}/assume-role-for-pod-identity"
    reply = plane.call(plane.signed("POST", target, body, service="eks-auth", keys=plane.node))
    headers = dict(reply.headers)
    assert (reply.status, headers["content-type"], headers["cache-control"]) == (200, "application/json", "no-store")
    assert headers["x-amzn-requestid"]

"""What the front does with every request: routing, request ids, and what the log may say."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, FORM, HOST, Plane
from rolecall.core.exchange import Request
from rolecall.daemons.local_aws.build import READY_PATH

ME = b"Action=GetCallerIdentity&Version=2011-06-15"


def fields(caplog: pytest.LogCaptureFixture, event: str) -> dict[str, Any]:
    """Return the fields of the last event of a name."""
    return [vars(record)["fields"] for record in caplog.records if record.getMessage() == event][-1]


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2", "eu-central-1"])
def test_any_region_is_accepted(plane: Plane, region: str) -> None:
    """A client whose endpoint is overridden signs its own region, for IAM too."""
    assert plane.client("iam", region=region).get_user()["User"]["UserName"] == "admin"


@pytest.mark.parametrize("host", ["127.0.0.1:4500", "127.0.0.1", "localhost:4500", "LOCALHOST", "[::1]:4500", "[::1]"])
def test_our_own_names_are_served(plane: Plane, host: str) -> None:
    """With and without a port, in any case."""
    reply = plane.call(Request("GET", READY_PATH, (("host", host),)))
    assert (reply.status, reply.body) == (200, b"ok\n")


def test_configured_names_are_served(tmp_path: Any) -> None:
    """--allow-host adds a name, and only that one."""
    with Plane.open(tmp_path, allow_hosts=("plane.test",)) as plane:
        assert plane.call(Request("GET", READY_PATH, (("host", "Plane.test:4500"),))).status == 200
        assert plane.call(Request("GET", READY_PATH, (("host", "a.plane.test"),))).status == 421


def test_readiness(plane: Plane) -> None:
    """503 until everything serves; a browser's address bar may look; every answer has a request id."""
    request = Request("GET", READY_PATH, (*HOST, ("sec-fetch-site", "none")))
    assert plane.call(request).status == 200
    plane.readiness.ready = False
    reply = plane.call(request)
    assert reply.status == 503
    assert dict(reply.headers)["x-amzn-requestid"]


def test_request_ids_differ_and_are_where_clients_look(plane: Plane) -> None:
    """In the header and in the body, for success and for failure, as botocore finds them."""
    ids = {plane.client("sts").get_caller_identity()["ResponseMetadata"]["RequestId"] for _ in range(2)}
    for service, call in (("iam", "list_roles"), ("eks", "list_clusters")):
        ids.add(getattr(plane.client(service), call)()["ResponseMetadata"]["RequestId"])
        with pytest.raises(ClientError) as caught:
            getattr(plane.client(service, plane.node), call)()
        ids.add(caught.value.response["ResponseMetadata"]["RequestId"])
    assert len(ids) == 6
    assert all(len(request_id) == 36 for request_id in ids)


def test_the_log_says_who_did_what(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """Operation, caller, status and request id of every call, and the code of a refusal."""
    with caplog.at_level(logging.INFO, "rolecall"):
        plane.client("sts").get_caller_identity()
        good = fields(caplog, "plane.answered")
        with pytest.raises(ClientError):
            plane.client("iam", plane.node).list_roles()
        bad = fields(caplog, "plane.answered")
    assert (good["operation"], good["status"]) == ("sts:GetCallerIdentity", 200)
    assert good["caller"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    assert (bad["operation"], bad["status"], bad["code"]) == ("iam:ListRoles", 403, "AccessDenied")
    assert bad["caller"] == f"arn:aws:iam::{ACCOUNT}:user/node"


def test_the_log_knows_why_a_token_was_denied(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """What STS does not tell a stranger, the operator reads in the log."""
    eks, iam = plane.client("eks"), plane.client("iam")
    eks.create_cluster(name="c", roleArn=f"arn:aws:iam::{ACCOUNT}:role/r", resourcesVpcConfig={})
    issuer = next(iter(plane.clusters))
    iam.create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])
    now = int(plane.clock.now())
    key = plane.issuers.of_cluster("c")
    assert key is not None
    token = key.key.sign({"iss": issuer, "sub": "somebody", "aud": ["sts.amazonaws.com"], "iat": now, "exp": now + 600})
    with caplog.at_level(logging.INFO, "rolecall"), pytest.raises(ClientError) as caught:
        plane.unsigned_client("sts").assume_role_with_web_identity(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/absent", RoleSessionName="tester", WebIdentityToken=token
        )
    assert "absent" not in caught.value.response["Error"]["Message"]
    assert "role/absent does not exist" in fields(caplog, "plane.answered")["why"]
    assert token not in repr([vars(record) for record in caplog.records])


@pytest.mark.parametrize("service", ["sts", "eks"])
def test_a_defect_is_told_without_its_message(
    plane: Plane, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    """An unforeseen exception answers 500 in AWS's shape; its message, which may quote a secret, stays unsaid."""

    async def broken(_: object) -> None:
        raise ZeroDivisionError("the secret is hunter2")

    monkeypatch.setattr(plane.database, "run", broken)
    target = {"sts": ("POST", "/", ME, {"content-type": FORM}), "eks": ("GET", "/clusters", b"", {})}[service]
    method, path, body, headers = target
    with caplog.at_level(logging.INFO, "rolecall"):
        reply = plane.call(plane.signed(method, path, body, service=service, headers=headers))
    assert reply.status == 500
    assert b"InternalFailure" in reply.body
    crash = fields(caplog, "plane.failed")
    assert crash["kind"] == "ZeroDivisionError"
    assert any("test_front.py" in place for place in crash["where"])
    assert "hunter2" not in reply.body.decode() + repr([vars(record) for record in caplog.records])


def test_a_failed_database_answers_500_and_the_log_knows(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """The client hears that it was not its fault; the operator hears what SQLite said."""
    plane.run(plane.database.run(lambda tx: tx.execute("DROP TABLE access_keys")))
    with caplog.at_level(logging.INFO, "rolecall"):
        reply = plane.call(plane.signed("POST", "/", ME, service="sts", headers={"content-type": FORM}))
    assert reply.status == 500
    assert b"access_keys" not in reply.body
    assert "access_keys" in fields(caplog, "plane.answered")["why"]


def test_a_query_service_can_be_asked_with_get(plane: Plane) -> None:
    """GET carries the form in its query; AWS's services take it."""
    request = plane.signed("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", service="sts")
    assert plane.call(request).status == 200


def test_each_cluster_has_its_issuer_pages(plane: Plane) -> None:
    """Discovery and keys are open from creation to deletion, also after a restart, and never wander."""
    eks = plane.client("eks")
    wanted = {"name": "c", "roleArn": f"arn:aws:iam::{ACCOUNT}:role/r", "resourcesVpcConfig": {}}
    issuer = eks.create_cluster(**wanted)["cluster"]["identity"]["oidc"]["issuer"]
    base = issuer.removeprefix("http://127.0.0.1:4500")

    def get(path: str, method: str = "GET") -> Any:
        return plane.call(Request(method, base + path, HOST))

    before = get("/keys").body
    plane.restart()
    document = json.loads(get("/.well-known/openid-configuration").body)
    assert document["issuer"] == issuer
    assert document["jwks_uri"] == f"{issuer}/keys"
    assert get("/keys").body == before
    assert dict(get("/keys").headers)["content-type"] == "application/json"
    assert get("/keys", "POST").status == 405
    eks.delete_cluster(name="c")
    assert get("/keys").status == 404
    assert get("/.well-known/openid-configuration").status == 404


def test_what_is_asked_again_and_again_does_not_fill_the_log(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """An agent's question every two seconds is a line for who debugs; its refusal is one for everybody."""
    plane.client("eks").create_cluster(name="c", roleArn="arn:aws:iam::123456789012:role/r", resourcesVpcConfig={})
    path = "/clusters/c/pod-identity-revocations?after=-1"
    signed = plane.signed("GET", path, service="eks-auth", keys=plane.node)
    caplog.clear()
    assert plane.call(signed).status == 200
    assert plane.call(Request("GET", path, HOST)).status == 403
    levels = [record.levelno for record in caplog.records if record.getMessage() == "plane.answered"]
    assert levels == [logging.DEBUG, logging.INFO]

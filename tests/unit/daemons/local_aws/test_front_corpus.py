"""Bad requests at the plane's port: each file of the corpus is one, with the answer that it gets.

A file holds the raw request (`method`, `target`, `headers`, `body` or `body_base64` or `body_repeat`), who signs it
(`sign`: botocore does), what happens to it afterwards (`then`), and the `status` and `code` of the answer. Codes are
AWS's (Common Errors of the STS, IAM and EKS API References) wherever AWS has one.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from plane_in_process import ACCOUNT, HOST, Keys, Plane
from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret

CORPUS = Path(__file__).parents[3] / "corpus" / "plane"
CASES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(CORPUS.glob("*.json"))}
TRUST = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/admin"},
        "Action": "sts:AssumeRole",
    },
}


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plane, dict[str, Keys]]]:
    """A plane for all cases, since none of them may change it; and everybody who signs."""
    with Plane.open(tmp_path_factory.mktemp("plane")) as plane:
        for name in ("mine", "kept"):
            plane.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
            plane.client("eks").create_cluster(
                name=name, roleArn=f"arn:aws:iam::{ACCOUNT}:role/mine", resourcesVpcConfig={}
            )

        def session(seconds: int) -> Keys:
            arn = f"arn:aws:iam::{ACCOUNT}:role/mine"
            wanted = {"RoleArn": arn, "RoleSessionName": "tester", "DurationSeconds": seconds}
            return Keys.of(plane.client("sts").assume_role(**wanted)["Credentials"])

        expired = session(900)
        plane.advance(900)
        first, second = session(3600), session(3600)
        signers = {
            "admin": plane.admin,
            "node": plane.node,
            "nobody": Keys("AKIAIOSFODNN7EXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")),
            "wrong secret": Keys(plane.admin.access_key_id, plane.node.secret),
            "admin with a token": Keys(plane.admin.access_key_id, plane.admin.secret, first.token),
            "session": first,
            "session without token": Keys(first.access_key_id, first.secret),
            "session with another token": Keys(first.access_key_id, first.secret, second.token),
            "expired session": expired,
        }
        yield plane, signers


def request_of(case: dict[str, Any], plane: Plane, signers: dict[str, Keys]) -> Request:
    body = case.get("body", "").encode()
    if "body_base64" in case:
        body = base64.b64decode(case["body_base64"])
    if "body_repeat" in case:
        text, times = case["body_repeat"]
        body = text.encode() * times
    request = Request(case["method"], case["target"], (*HOST, *case["headers"].items()), body, "127.0.0.1")
    if "sign" in case:
        how = case["sign"]
        plane.client_offset = how.get("offset", 0.0)
        request = plane.signed(
            case["method"],
            case["target"],
            body,
            service=how["service"],
            keys=signers[how.get("as", "admin")],
            headers=case["headers"],
        )
        plane.client_offset = 0.0
    then = case.get("then", {})
    headers = (*request.headers, *((name, value) for name, value in then.get("add_headers", ())))
    if "hosts" in case:
        headers = (*(("host", host) for host in case["hosts"]), *(pair for pair in headers if pair[0] != "host"))
    return dataclasses.replace(
        request,
        headers=headers,
        body=then["body"].encode() if "body" in then else request.body,
        target=then.get("target", request.target),
    )


def read_error(reply: Reply) -> tuple[str, str, str]:
    """Return code, message and request id of an answer, read as AWS's clients read them."""
    headers = dict(reply.headers)
    if headers["content-type"] == "application/json":
        body = json.loads(reply.body)
        assert body["__type"] == headers["x-amzn-errortype"]
        return headers["x-amzn-errortype"], body["message"], headers["x-amzn-requestid"]
    assert headers["content-type"] == "text/xml"
    root = ElementTree.fromstring(reply.body)
    namespace = root.tag.removesuffix("ErrorResponse")
    found = {name: root.findtext(f".//{namespace}{name}") for name in ("Type", "Code", "Message", "RequestId")}
    assert found["Type"] == ("Receiver" if reply.status >= 500 else "Sender")
    assert found["RequestId"] == headers["x-amzn-requestid"]
    return found["Code"] or "", found["Message"] or "", found["RequestId"] or ""


@pytest.mark.parametrize("name", CASES)
def test_bad_request(furnished: tuple[Plane, dict[str, Keys]], name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is AWS's, with a request id; nothing is written, and nothing secret is logged or told."""
    plane, signers = furnished
    case = CASES[name]
    request = request_of(case, plane, signers)
    before = plane.tables()
    with caplog.at_level(logging.DEBUG):
        reply = plane.call(request)
    code, message, request_id = read_error(reply)
    assert (reply.status, code) == (case["status"], case["code"]), message
    assert message
    assert len(request_id) == 36
    assert plane.tables() == before
    said = reply.body.decode() + repr([vars(record) for record in caplog.records])
    for keys in signers.values():
        assert keys.secret.reveal() not in said
        assert keys.token is None or keys.token.reveal() not in said
    assert not any(name.startswith("access-control") for name, _ in reply.headers)


def test_the_corpus_signs_rightly(furnished: tuple[Plane, dict[str, Keys]]) -> None:
    """The same way of signing, without the fault, is answered: the cases fail for what they say."""
    plane, signers = furnished
    for who in ("admin", "node", "session"):
        for offset in (0, -298, 298):
            good = {
                "method": "POST",
                "target": "/",
                "headers": {"content-type": "application/x-www-form-urlencoded"},
                "body": "Action=GetCallerIdentity&Version=2011-06-15",
                "sign": {"service": "sts", "as": who, "offset": offset},
            }
            assert plane.call(request_of(good, plane, signers)).status == 200
    clusters = {"method": "GET", "target": "/clusters", "headers": {}, "sign": {"service": "eks"}}
    reply = plane.call(request_of(clusters, plane, signers))
    assert json.loads(reply.body) == {"clusters": ["kept", "mine"]}

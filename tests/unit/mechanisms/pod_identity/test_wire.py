"""EKS Auth's messages. The judge of the bytes is botocore's published model of the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import botocore.session
import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId, ClusterName, Namespace, ServiceAccountName
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued, Subject
from rolecall.errors import RolecallError, ServiceError, Upstream
from rolecall.mechanisms.pod_identity import wire

MODEL: ServiceModel = botocore.session.Session().get_service_model("eks-auth")
OPERATION = MODEL.operation_model("AssumeRoleForPodIdentity")
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
ARN = "arn:aws:sts::123456789012:assumed-role/r/eks-c-p-1"
ASSOCIATION = "arn:aws:eks:us-west-2:123456789012:podidentityassociation/c/a-abcdefghijklmnop1"

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
issued = st.builds(
    Issued,
    credentials=st.builds(
        Credentials,
        access_key_id=text,
        secret_access_key=text.map(Secret),
        session_token=text.map(Secret),
        expires_at=st.integers(1, 253_402_300_799).map(float),
        account=st.just(AccountId("123456789012")),
    ),
    assumed_role_arn=st.just(ARN),
    assumed_role_id=text,
    subject=st.builds(
        Subject, st.just(Namespace("demo-ns")), st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).map(ServiceAccountName)
    ),
    association_arn=text,
    association_id=text,
)
ONE = Issued(
    credentials=Credentials("ASIA1", Secret("secret"), Secret("token"), 1_795_422_061.9, AccountId("123456789012")),
    assumed_role_arn=ARN,
    assumed_role_id="AROA1:eks-c-p-1",
    subject=Subject(Namespace("demo-ns"), ServiceAccountName("demo-sa")),
    association_arn=ASSOCIATION,
    association_id="a-abcdefghijklmnop1",
)


def raised(work: Callable[[], object]) -> RolecallError | None:
    """Return the error of ours that `work` raises."""
    try:
        work()
    except RolecallError as error:
        return error
    return None


def by_botocore(status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return what unmodified botocore reads in an answer."""
    parser = create_parser("rest-json")
    found: dict[str, Any] = parser.parse(
        {"status_code": status, "headers": headers, "body": body}, OPERATION.output_shape
    )
    return found


@given(issued)
def test_what_one_end_writes_the_other_reads(one: Issued) -> None:
    """decode_issued(encode_issued(x)) is x."""
    assert wire.decode_issued(wire.encode_issued(one)) == one


@given(st.from_regex(r"[A-Za-z0-9_=-]{1,40}(\.[A-Za-z0-9_=-]{1,40}){2}", fullmatch=True))
def test_every_token_that_the_model_allows_arrives(token: str) -> None:
    """decode_ask(encode_ask(x)) is x for all of the model's pattern."""
    assert wire.decode_ask(wire.encode_ask(Secret(token))) == Secret(token)


def test_botocore_reads_what_we_issue() -> None:
    """All required members are there, and the time is whole epoch seconds, cut."""
    found = by_botocore(200, {"content-type": "application/json"}, wire.encode_issued(ONE))
    assert found["credentials"]["expiration"].timestamp() == 1_795_422_061
    del found["credentials"]["expiration"], found["ResponseMetadata"]
    assert found == {
        "subject": {"namespace": "demo-ns", "serviceAccount": "demo-sa"},
        "audience": "pods.eks.amazonaws.com",
        "podIdentityAssociation": {"associationArn": ASSOCIATION, "associationId": "a-abcdefghijklmnop1"},
        "assumedRoleUser": {"arn": ARN, "assumeRoleId": "AROA1:eks-c-p-1"},
        "credentials": {"sessionToken": "token", "secretAccessKey": "secret", "accessKeyId": "ASIA1"},
    }
    assert set(json.loads(wire.encode_issued(ONE))) == set(OPERATION.output_shape.required_members)


def test_our_request_is_the_models() -> None:
    """Method, path and body are those that botocore's serializer makes."""
    made = create_serializer("rest-json").serialize_to_request(
        {"clusterName": "my_Cluster-1", "token": TOKEN}, OPERATION
    )
    assert (made["method"], made["url_path"]) == ("POST", wire.ask_path(ClusterName("my_Cluster-1")))
    assert json.loads(made["body"]) == json.loads(wire.encode_ask(Secret(TOKEN)))


def test_the_errors_are_the_models() -> None:
    """Every error that the operation declares, with the status that the model gives it."""
    assert dict(wire.STATUS_OF) == {
        shape.name: shape.metadata["error"]["httpStatusCode"] for shape in OPERATION.error_shapes
    }
    assert wire.FINAL.issubset(wire.STATUS_OF)


@pytest.mark.parametrize(
    ("path", "cluster"),
    [
        ("/clusters/my_Cluster-1/assume-role-for-pod-identity", "my_Cluster-1"),
        ("/clusters/my%2Dcluster/assume-role-for-pod-identity", "my-cluster"),
        ("/clusters//assume-role-for-pod-identity", None),
        ("/clusters/a/assume-role-for-pod-identity/", None),
        ("/clusters/a/b/assume-role-for-pod-identity", None),
        ("/x/clusters/a/assume-role-for-pod-identity", None),
    ],
)
def test_the_path_names_the_cluster(path: str, cluster: str | None) -> None:
    """The raw path is read as HTTP clients may encode it."""
    assert wire.parse_path(path) == cluster


@pytest.mark.parametrize("name", ["-a", "a%2Fb", "a%00", "a" * 101, "%C3%A4", "a.b"])
def test_an_illegal_cluster_name_is_refused(name: str) -> None:
    """The model's pattern and length hold."""
    with pytest.raises(ServiceError) as caught:
        wire.parse_path(f"/clusters/{name}/assume-role-for-pod-identity")
    assert (caught.value.code, caught.value.status) == ("InvalidParameterException", 400)


ASKS = {
    "unknown fields are passed over": (b'{"token": "a.b.c", "eksNodeName": {"x": 1}}', None),
    "empty": (b"", "InvalidRequestException"),
    "not JSON": (b"token", "InvalidRequestException"),
    "not UTF-8": (b'{"token": "\xff"}', "InvalidRequestException"),
    "a list": (b'["a.b.c"]', "InvalidRequestException"),
    "a string": (b'"a.b.c"', "InvalidRequestException"),
    "deep": (b"[" * 100_000, "InvalidRequestException"),
    "too long": (b'{"token": "a.b.' + b"c" * 131_072 + b'"}', "InvalidRequestException"),
    "no token": (b"{}", "InvalidParameterException"),
    "null token": (b'{"token": null}', "InvalidParameterException"),
    "a number": (b'{"token": 1}', "InvalidParameterException"),
    "an empty token": (b'{"token": ""}', "InvalidParameterException"),
    "two parts": (b'{"token": "aaaaaaaa.bbbbbbbb"}', "InvalidParameterException"),
    "four parts": (b'{"token": "a.b.c.d"}', "InvalidParameterException"),
    "unsigned": (b'{"token": "aaaaaaaa.bbbbbbbb."}', "InvalidParameterException"),
    "a newline at its end": (b'{"token": "aaaaaaaa.bbbbbbbb.c\\n"}', "InvalidParameterException"),
    "letters beyond ASCII": ('{"token": "ä.b.c"}'.encode(), "InvalidParameterException"),
}


@pytest.mark.parametrize(("body", "code"), ASKS.values(), ids=ASKS)
def test_a_request_body(body: bytes, code: str | None) -> None:
    """Readable, or the error that the operation declares, in which the token does not stand."""
    if code is None:
        assert wire.decode_ask(body) == Secret("a.b.c")
        return
    with pytest.raises(ServiceError) as caught:
        wire.decode_ask(body)
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert "aaaaaaaa" not in caught.value.message


@given(st.binary(max_size=60) | st.builds(lambda text: json.dumps({"token": text}).encode(), st.text()))
def test_reading_a_request_raises_nothing_else(body: bytes) -> None:
    """Whatever the body is: a token, or an AWS-shaped refusal."""
    refused = raised(lambda: wire.decode_ask(body))
    assert refused is None or isinstance(refused, ServiceError)
    assert refused is None or wire.STATUS_OF[refused.code] == refused.status == 400


def answer(**changes: Any) -> bytes:
    """Return an answer with some members changed, or left out where None."""
    body = json.loads(wire.encode_issued(ONE))
    body.update(changes)
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


def test_fields_that_are_new_to_us_do_not_hurt() -> None:
    """AWS adds members; they are passed over at every depth."""
    more = {
        "subject": {"namespace": "demo-ns", "serviceAccount": "demo-sa", "podName": "p"},
        "workloadIdentity": {"a": []},
    }
    assert wire.decode_issued(answer(**more)).subject == ONE.subject


CREDENTIALS = {"sessionToken": "t", "secretAccessKey": "hidden-secret", "accessKeyId": "A", "expiration": 1_795_422_061}
UNREADABLE = {
    "no subject": answer(subject=None),
    "no credentials": answer(credentials=None),
    "no secret": answer(credentials={**CREDENTIALS, "secretAccessKey": ""}),
    "expiration in words": answer(credentials={**CREDENTIALS, "expiration": "2026-11-23T08:21:01Z"}),
    "expiration in no year": answer(credentials={**CREDENTIALS, "expiration": 1e300}),
    "expiration zero": answer(credentials={**CREDENTIALS, "expiration": 0}),
    "a user that is no ARN": answer(assumedRoleUser={"arn": "me", "assumeRoleId": "x"}),
    "a user without account": answer(assumedRoleUser={"arn": "arn:aws:sts:::x", "assumeRoleId": "x"}),
    "an illegal namespace": answer(subject={"namespace": "Demo", "serviceAccount": "demo-sa"}),
    "HTML": b"<html>",
    "nothing": b"",
    "not UTF-8": b"\xff",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_an_answer_that_cannot_be_used_is_the_upstreams_fault(body: bytes) -> None:
    """Half an answer hands out nothing, may be tried again, and is not repeated in the error."""
    with pytest.raises(Upstream) as caught:
        wire.decode_issued(body)
    assert caught.value.retryable
    assert "hidden-secret" not in caught.value.message


def test_credentials_without_an_association_are_not_written() -> None:
    """EKS Auth's answer requires both; half of it would break every client."""
    for broken in (replace(ONE, subject=None), replace(ONE, association_arn=""), replace(ONE, association_id="")):
        with pytest.raises(ServiceError) as caught:
            wire.encode_issued(broken)
        assert (caught.value.code, caught.value.status) == ("InternalServerException", 500)


@pytest.mark.parametrize("code", sorted(wire.STATUS_OF))
def test_errors_are_read_as_botocore_reads_them(code: str) -> None:
    """Code, message and request id of every declared error, in each of the forms that AWS services write."""
    status = wire.STATUS_OF[code]
    forms = [
        ([("x-amzn-errortype", code), ("x-amzn-requestid", "r-1")], b'{"message": "why"}'),
        ([("x-amzn-errortype", f"{code}:http://internal/"), ("x-amzn-requestid", "r-1")], b'{"Message": "why"}'),
        ([("x-amzn-requestid", "r-1")], f'{{"__type": "com.amazon#{code}", "message": "why"}}'.encode()),
        ([("x-amzn-requestid", "r-1")], f'{{"code": "{code}", "message": "why"}}'.encode()),
    ]
    for headers, body in forms:
        read = wire.decode_error(status, headers, body)
        judge = by_botocore(status, dict(headers), body)
        assert (read.code, read.message) == (judge["Error"]["Code"], judge["Error"]["Message"]) == (code, "why")
        assert read.request_id == judge["ResponseMetadata"]["RequestId"] == "r-1"
        assert read.retryable is (status == 429 or status >= 500)


def test_an_error_of_a_proxy_is_tamed() -> None:
    """Not JSON, no code, a wild request id: named as unknown, in one printable line."""
    read = wire.decode_error(502, [("x-amzn-requestid", "a b\x1b")], b"<html>\x00bad gateway")
    assert (read.code, read.request_id, read.retryable) == ("UnknownError", "", True)
    shown = wire.decode_error(400, [], json.dumps({"message": "a\nb\x1b[31m" + "c" * 5000}).encode()).message
    assert shown.startswith("a b?[31mccc")
    assert len(shown) == 1000


def test_the_first_of_two_headers_counts() -> None:
    """A second header of the same name, which a proxy may add, does not change the code."""
    headers = [("x-amzn-errortype", "ThrottlingException"), ("x-amzn-errortype", "AccessDeniedException")]
    assert wire.decode_error(400, headers, b"").code == "ThrottlingException"
    assert wire.decode_error(400, headers, b"").retryable, "throttling is worth another try, whatever the status"


@given(st.binary(max_size=80), st.lists(st.tuples(st.sampled_from(["x-amzn-errortype", "a"]), st.text(max_size=20))))
def test_reading_an_answer_raises_nothing_else(body: bytes, headers: list[tuple[str, str]]) -> None:
    """An error can always be read; an answer is read or blamed on the upstream."""
    assert wire.decode_error(500, headers, body).message
    assert isinstance(raised(lambda: wire.decode_issued(body)), Upstream | None)


def test_the_token_that_an_agent_shows() -> None:
    """RFC 6750, section 2.1: the scheme in any case; two headers, or what is no token, are refused without a quote."""
    for value in ("Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "):
        found = wire.agent_token((("host", "x"), ("authorization", value)))
        assert found is not None
        assert found.reveal() == "a.b.c"
    for others in ((), (("authorization", "AWS4-HMAC-SHA256 Credential=x"),), (("authorization", "a.b.c"),)):
        assert wire.agent_token(others) is None
    for bad in (("Bearer secret",), ("Bearer a.b.c", "Bearer a.b.c"), ("AWS4-HMAC-SHA256 x", "Bearer a.b.c")):
        fault = raised(lambda bad=bad: wire.agent_token([("authorization", value) for value in bad]))  # type: ignore[misc]
        assert isinstance(fault, ServiceError)
        assert (fault.code, fault.status, "secret" in fault.message) == ("UnrecognizedClientException", 403, False)

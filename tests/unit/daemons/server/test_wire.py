"""rest-json, judged by botocore: its serializer makes the requests, its parser reads the answers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.exchange import Reply, Request
from rolecall.core.names import ClusterName
from rolecall.daemons.server.shapes import service_model
from rolecall.daemons.server.wire import RestJson, render_error
from rolecall.errors import ServiceError

MODEL = service_model("eks")
REST = RestJson(MODEL)
ARN = "arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1"


def sent(operation: str, **params: Any) -> Request:
    """Return the request that botocore makes of parameters."""
    made = create_serializer("rest-json").serialize_to_request(params, MODEL.operation_model(operation))
    query = f"?{urlencode(made['query_string'], doseq=True)}" if made["query_string"] else ""
    body = made["body"] if isinstance(made["body"], bytes) else made["body"].encode()
    return Request(made["method"], made["url_path"] + query, (), body)


def read(request: Request) -> tuple[str, dict[str, Any]]:
    """Return the operation and the parameters that we read."""
    operation, in_path = REST.match(request)
    return operation.name, REST.parse(operation, in_path, request)


def refused(request: Request) -> tuple[int, str]:
    """Return status and code of the refusal."""
    with pytest.raises(ServiceError) as caught:
        read(request)
    return caught.value.status, caught.value.code


CREATE = {
    "clusterName": "demo",
    "namespace": "demo-ns",
    "serviceAccount": "demo-sa",
    "roleArn": "arn:aws:iam::123456789012:role/r",
    "clientRequestToken": "t" * 36,
    "tags": {"a": "b", "ä": ""},
    "disableSessionTags": False,
    "targetRoleArn": "",
}
ROUND = {
    "body": ("CreatePodIdentityAssociation", CREATE),
    "path and query": (
        "ListPodIdentityAssociations",
        {"clusterName": "demo", "namespace": "a b&c=d", "serviceAccount": "x+y%", "maxResults": 7, "nextToken": "a/b"},
    ),
    "an ARN in the path": ("DescribePodIdentityAssociation", {"clusterName": "demo", "associationId": ARN}),
    "POST to a path with two names": (
        "UpdatePodIdentityAssociation",
        {"clusterName": "demo", "associationId": "a-1", "disableSessionTags": True},
    ),
    "lists and structures": (
        "CreateCluster",
        {
            "name": "demo",
            "roleArn": "r",
            "resourcesVpcConfig": {"subnetIds": ["a", "b"], "endpointPublicAccess": False},
            "version": "1.34",
        },
    ),
    "a list in the query": ("ListClusters", {"include": ["all"], "maxResults": 100}),
}


@pytest.mark.parametrize(("operation", "params"), ROUND.values(), ids=ROUND)
def test_what_botocore_sends_is_what_we_read(operation: str, params: dict[str, Any]) -> None:
    """The same operation and the same parameters."""
    assert read(sent(operation, **params)) == (operation, params)


@given(
    st.dictionaries(st.text(min_size=1, max_size=12), st.text(max_size=12), min_size=1, max_size=5),
    st.text(min_size=1, max_size=20),
)
def test_any_text_arrives(tags: dict[str, str], named: str) -> None:
    """In the body and in the path, whatever the letters; an empty path member cannot be sent."""
    assert read(sent("CreatePodIdentityAssociation", **(CREATE | {"tags": tags})))[1]["tags"] == tags
    got = read(sent("DescribePodIdentityAssociation", clusterName="demo", associationId=named))
    assert got[1]["associationId"] == named


def test_members_that_are_unknown_are_passed_over() -> None:
    """A newer client sends members that this model does not have."""
    request = Request(
        "POST", "/clusters/demo/pod-identity-associations", (), json.dumps(CREATE | {"new": [1]}).encode()
    )
    assert "new" not in read(request)[1]


def test_null_is_absent() -> None:
    """A member that is null was not given: a required one is missing then."""
    path = "/clusters/demo/pod-identity-associations"
    assert (
        "targetRoleArn" not in read(Request("POST", path, (), json.dumps(CREATE | {"targetRoleArn": None}).encode()))[1]
    )
    assert refused(Request("POST", path, (), json.dumps(CREATE | {"roleArn": None}).encode())) == (
        400,
        "InvalidParameterException",
    )


def post(**changes: Any) -> Request:
    """Return a create request with something wrong in its body."""
    return Request("POST", "/clusters/demo/pod-identity-associations", (), json.dumps(CREATE | changes).encode())


BAD = {
    "a number for a text": (post(namespace=1), 400, "InvalidParameterException"),
    "a text for a flag": (post(disableSessionTags="true"), 400, "InvalidParameterException"),
    "a number for a flag": (post(disableSessionTags=1), 400, "InvalidParameterException"),
    "a list for a map": (post(tags=["a"]), 400, "InvalidParameterException"),
    "a map of numbers": (post(tags={"a": 1}), 400, "InvalidParameterException"),
    "a list of nulls": (
        Request("POST", "/clusters", (), b'{"name": "a", "roleArn": "r", "resourcesVpcConfig": {"subnetIds": [null]}}'),
        400,
        "InvalidParameterException",
    ),
    "a map of nulls": (post(tags={"a": None}), 400, "InvalidParameterException"),
    "not JSON": (Request("POST", "/clusters/demo/addons", (), b"{"), 400, "InvalidRequestException"),
    "not an object": (Request("POST", "/clusters/demo/addons", (), b"1"), 400, "InvalidRequestException"),
    "not UTF-8": (Request("POST", "/clusters/demo/addons", (), b'{"a": "\xff"}'), 400, "InvalidRequestException"),
    "deep": (Request("POST", "/clusters/demo/addons", (), b"[" * 99_999), 400, "InvalidRequestException"),
    "no such path": (Request("GET", "/cluster", ()), 404, "UnknownOperationException"),
    "an empty name": (Request("GET", "/clusters//addons", ()), 404, "UnknownOperationException"),
    "a slash too many": (Request("GET", "/clusters/", ()), 404, "UnknownOperationException"),
    "no such method": (Request("PATCH", "/clusters", ()), 405, "MethodNotAllowedException"),
    "words for a number": (Request("GET", "/clusters?maxResults=ten", ()), 400, "InvalidParameterException"),
    "digits of another script": (Request("GET", "/clusters?maxResults=%D9%A7", ()), 400, "InvalidParameterException"),
    "a number too large": (Request("GET", "/clusters?maxResults=101", ()), 400, "InvalidParameterException"),
}


@pytest.mark.parametrize(("request_", "status", "code"), BAD.values(), ids=BAD)
def test_what_cannot_be_read(request_: Request, status: int, code: str) -> None:
    """AWS-shaped, with the status that fits."""
    assert refused(request_) == (status, code)


@given(
    st.binary(max_size=60),
    st.sampled_from(["/clusters", "/clusters/a/addons", "/clusters/a/pod-identity-associations"]),
)
def test_reading_raises_nothing_else(body: bytes, path: str) -> None:
    """Whatever the body is."""
    try:
        read(Request("POST", path, (), body))
    except ServiceError as error:
        status = error.status
    else:
        status = 400
    assert status == 400


def parsed(reply: Reply, operation: str) -> dict[str, Any]:
    """Return what botocore reads in a reply."""
    shape = MODEL.operation_model(operation).output_shape
    response = {"status_code": reply.status, "headers": dict(reply.headers), "body": reply.body}
    found: dict[str, Any] = create_parser("rest-json").parse(response, shape)
    return found


def test_what_we_answer_is_what_botocore_reads() -> None:
    """Names that are subclasses of str, times with a fraction, members without a value left out."""
    operation = MODEL.operation_model("DescribePodIdentityAssociation")
    association = {
        "clusterName": ClusterName("demo"),
        "tags": {"a": "b"},
        "createdAt": 1_700_000_000.123456,
        "disableSessionTags": False,
        "targetRoleArn": None,
        "unknown": "x",
    }
    reply = REST.render(operation, {"association": association}, "r-1")
    got = parsed(reply, operation.name)
    assert got["ResponseMetadata"]["RequestId"] == "r-1"
    assert got["association"].pop("createdAt").timestamp() == pytest.approx(1_700_000_000.123, abs=1e-4)
    assert got["association"] == {"clusterName": "demo", "tags": {"a": "b"}, "disableSessionTags": False}
    assert set(json.loads(reply.body)["association"]) == {"clusterName", "tags", "createdAt", "disableSessionTags"}


def test_an_error_is_what_botocore_reads() -> None:
    """Code, message, status and request id; the hint is for the log and stays here."""
    fault = ServiceError("ResourceInUseException", 'it "is" there', status=409, hint="for the operator")
    reply = render_error(fault, "r-1")
    got = parsed(reply, "CreateCluster")
    assert got["Error"] == {"Code": "ResourceInUseException", "Message": 'it "is" there'}
    assert got["ResponseMetadata"]["RequestId"] == "r-1"
    assert reply.status == 409
    assert b"operator" not in reply.body

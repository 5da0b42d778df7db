"""The query protocol: botocore's serializer and parser are the other side of every form and every answer."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.exchange import Request
from rolecall.daemons.local_aws.wire import Query, read_form, render_error
from rolecall.errors import ServiceError

IAM = botocore.session.Session().get_service_model("iam")
STS = botocore.session.Session().get_service_model("sts")
REQUEST_ID = "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE"
KIND = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)


def post(body: bytes) -> Request:
    return Request("POST", "/", KIND, body)


def sent(service: Any, operation: str, params: dict[str, Any]) -> Request:
    """Return what botocore sends."""
    made = create_serializer("query", include_validation=False).serialize_to_request(
        params, service.operation_model(operation)
    )
    return post(urlencode(made["body"]).encode())


def received(service: Any, operation: str, status: int, body: bytes) -> dict[str, Any]:
    """Return what botocore reads in an answer."""
    response = {"status_code": status, "headers": {}, "body": body}
    found: dict[str, Any] = create_parser("query").parse(response, service.operation_model(operation).output_shape)
    return found


FORMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "structures in a list": (
        STS,
        "AssumeRole",
        {
            "RoleArn": "arn:aws:iam::123456789012:role/r",
            "RoleSessionName": "ab",
            "Tags": [{"Key": "a b", "Value": "ü&=+%"}, {"Key": "c", "Value": ""}],
            "TransitiveTagKeys": ["a b"],
            "DurationSeconds": 900,
        },
    ),
    "booleans": (IAM, "ListPolicies", {"OnlyAttached": True, "MaxItems": 7}),
    "an empty list": (IAM, "CreateOpenIDConnectProvider", {"Url": "https://a.b", "ClientIDList": []}),
    "nothing": (STS, "GetCallerIdentity", {}),
    "many members": (IAM, "UntagRole", {"RoleName": "r", "TagKeys": [f"k{number}" for number in range(50)]}),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_botocore_sends_is_what_we_read(name: str) -> None:
    """Parameters come out as they went in."""
    service, operation, params = FORMS[name]
    query, form = Query(service), read_form(sent(service, operation, params))
    model = query.operation(form)
    assert model.name == operation
    assert query.parse(model, form) == params


def test_botocore_reads_what_we_write() -> None:
    """Structures, lists, times, booleans and numbers of an answer, and the request id."""
    model = IAM.operation_model("ListRoles")
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    role = {
        "Path": "/",
        "RoleName": "r",
        "RoleId": "AROAEXAMPLE",
        "Arn": "arn:aws:iam::123456789012:role/r",
        "CreateDate": when.timestamp() + 0.9,
        "Description": "<&>\r\n\t'\"]]>",
        "MaxSessionDuration": 3600,
    }
    reply = Query(IAM).render(model, {"Roles": [role, role], "IsTruncated": False}, REQUEST_ID)
    found = received(IAM, "ListRoles", 200, reply.body)
    assert found["Roles"] == [{**role, "CreateDate": when}] * 2
    assert found["IsTruncated"] is False
    assert found["ResponseMetadata"]["RequestId"] == REQUEST_ID


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_xml(text: str) -> None:
    """What XML 1.0 can carry arrives unchanged; what it cannot is replaced, and the document stays readable."""
    reply = Query(IAM).render(IAM.operation_model("CreatePolicy"), {"Policy": {"Description": text}}, REQUEST_ID)
    found = received(IAM, "CreatePolicy", 200, reply.body)["Policy"].get("Description", "")
    if all(letter in string.printable[:-2] or (letter > "\x9f" and letter not in "\ufffe\uffff") for letter in text):
        assert found == text
    assert len(found) == len(text)


@pytest.mark.parametrize(("status", "blame"), [(400, "Sender"), (403, "Sender"), (500, "Receiver"), (503, "Receiver")])
def test_errors(status: int, blame: str) -> None:
    """Code, message, blame and request id as botocore reads them."""
    reply = render_error(
        ServiceError("NoSuch<Entity>", "a & b", status=status), REQUEST_ID, IAM.metadata["xmlNamespace"]
    )
    found = received(IAM, "GetRole", reply.status, reply.body)
    assert found["Error"] == {"Type": blame, "Code": "NoSuch<Entity>", "Message": "a & b"}
    assert found["ResponseMetadata"]["RequestId"] == REQUEST_ID


@given(st.binary(max_size=80))
def test_any_form_is_read_or_refused(body: bytes) -> None:
    """Bytes are a form, or MalformedQueryString 400."""
    try:
        form = read_form(post(body))
    except ServiceError as fault:
        if (fault.code, fault.status) != ("MalformedQueryString", 400):
            raise
    else:
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in form.items())

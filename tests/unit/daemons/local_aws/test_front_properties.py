"""Whatever arrives, the plane answers in a shape that clients read, and never with a failure of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plane_in_process import FORM, HOST, Plane
from rolecall.core.exchange import Reply, Request
from rolecall.daemons.local_aws import iam

FUZZ = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
MODELS = {name: botocore.session.Session().get_service_model(name) for name in ("sts", "iam", "eks")}
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20250830/us-west-2/iam/aws4_request, SignedHeaders=host, "
    "Signature=00"
)
EKS = (
    *(f"{verb}{noun}" for noun in ("Cluster", "Addon") for verb in ("Create", "Describe", "Delete")),
    *(f"{verb}PodIdentityAssociation" for verb in ("Create", "Describe", "Update", "Delete")),
    *("ListClusters", "ListAddons", "ListPodIdentityAssociations"),
)
OPERATIONS = {
    "sts": ("AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"),
    "iam": tuple(sorted(iam.OPERATIONS)),
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One plane for all examples; what they write, they write."""
    with Plane.open(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


def check(reply: Reply) -> None:
    """The answer can be read, carries a request id, and is no failure of ours."""
    headers = dict(reply.headers)
    assert reply.status < 500 or reply.status in {501, 503}, reply.body
    assert headers["x-amzn-requestid"]
    if headers["content-type"] == "text/xml":
        ElementTree.fromstring(reply.body)
    elif headers["content-type"] == "application/json":
        assert isinstance(json.loads(reply.body), dict)
    else:
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert reply.body in {b"ok\n", b"starting\n"}


latin = st.text(st.characters(max_codepoint=255), max_size=40)
anything = st.text(max_size=40)
paths = st.sampled_from(
    [
        "/",
        "/clusters",
        "/clusters/c/addons",
        "/clusters/%00/pod-identity-associations",
        "/clusters/%ff%fe",
        "/clusters/c/assume-role-for-pod-identity",
        "/_rolecall/readyz",
        "/_rolecall/v1/clusters/c/tokens",
    ]
)
header_names = st.sampled_from(
    ["content-type", "authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "date", "x"]
)
header_values = latin | st.sampled_from(
    [
        FORM,
        "application/json",
        SIGNATURE,
        "20250830T123600Z",
    ]
)
forms = st.builds(
    lambda action, version, more: urlencode({"Action": action, "Version": version} | more).encode(),
    st.sampled_from(["GetCallerIdentity", "AssumeRoleWithWebIdentity", "ListRoles", "x"]),
    st.sampled_from(["2011-06-15", "2010-05-08", ""]),
    st.dictionaries(anything.map(lambda text: text.encode("utf-8", "replace").decode()), st.integers(), max_size=3),
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]) | latin,
    path=paths | latin.map(lambda text: "/" + text),
    query=st.just("") | latin.map(lambda text: "?" + text),
    headers=st.lists(st.tuples(header_names, header_values), max_size=5),
    body=st.binary(max_size=200)
    | forms
    | st.recursive(
        st.none() | st.booleans() | st.integers() | anything,
        lambda inner: st.lists(inner) | st.dictionaries(anything, inner),
    ).map(lambda value: json.dumps(value).encode()),
)
@FUZZ
def test_any_request(
    fuzzed: Plane, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Any method, target, headers and body."""
    check(fuzzed.call(Request(method, path + query, (*HOST, *headers), body, "127.0.0.1")))


@given(hosts=st.lists(latin | st.just("127.0.0.1:4500"), max_size=2))
@FUZZ
def test_any_host(fuzzed: Plane, hosts: list[str]) -> None:
    """Any Host: only our own names get further than the guard."""
    reply = fuzzed.call(Request("GET", "/_rolecall/readyz", tuple(("host", host) for host in hosts)))
    check(reply)
    assert (reply.status == 200) == (hosts == ["127.0.0.1:4500"])


texts = st.sampled_from(["admin", "node", "r", "/", "sts.amazonaws.com", "arn:aws:iam::123456789012:role/r", "{}", ""])


def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Return values for a shape: mostly of its type, seldom good."""
    if isinstance(shape, StructureShape):
        required = {name: values(member) for name, member in shape.members.items() if name in shape.required_members}
        optional = {name: values(member) for name, member in shape.members.items() if name not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if isinstance(shape, ListShape):
        return st.lists(values(shape.member), max_size=3)
    if isinstance(shape, MapShape):
        return st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3)
    if shape.type_name in {"integer", "long"}:
        return st.sampled_from([1, 3600, 0, -1, 10**11]) | st.integers()
    if shape.type_name == "boolean":
        return st.booleans()
    choices = shape.metadata.get("enum")
    return st.sampled_from(choices) if choices else texts | st.text(max_size=shape.metadata.get("min", 0) + 30)


def flat(value: Any, at: str) -> Iterator[tuple[str, str]]:
    """Yield a value's form fields, as AWS's query protocol names them."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from flat(member, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for number, member in enumerate(value, start=1):
            yield from flat(member, f"{at}.member.{number}")
    else:
        yield at, str(value).lower() if isinstance(value, bool) else str(value)


@given(data=st.data())
@FUZZ
def test_any_json(fuzzed: Plane, data: st.DataObject) -> None:
    """Every path of EKS that is served, signed by admin, with members that are seldom good."""
    name = data.draw(st.sampled_from(EKS))
    model = MODELS["eks"].operation_model(name)
    shape = model.input_shape or StructureShape("none", {"members": {}})
    params = data.draw(values(shape))
    path = model.http["requestUri"]
    for member, inner in shape.members.items():
        if inner.serialization.get("location") == "uri":
            path = path.replace(f"{{{inner.serialization['name']}}}", encoded(str(params.pop(member, "x"))) or "x")
    body = json.dumps(params).encode("utf-8", "replace")
    headers = {"content-type": "application/json"}
    check(fuzzed.call(fuzzed.signed(model.http["method"], path, body, service="eks", headers=headers)))


def encoded(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")


@pytest.mark.parametrize(
    ("service", "operation"),
    [(service, operation) for service, operations in OPERATIONS.items() for operation in operations],
)
def test_any_parameters(fuzzed: Plane, service: str, operation: str) -> None:
    """Every operation of STS and IAM, signed by admin, with parameters that are seldom good."""
    model = MODELS[service].operation_model(operation)
    shape = model.input_shape or StructureShape("none", {"members": {}})

    @given(params=values(shape))
    @settings(FUZZ, max_examples=25)
    def run(params: dict[str, Any]) -> None:
        fields = [("Action", operation), ("Version", MODELS[service].api_version), *flat(params, "")]
        body = "&".join(f"{encoded(name)}={encoded(value)}" for name, value in fields).encode()
        check(fuzzed.call(fuzzed.signed("POST", "/", body, service=service, headers={"content-type": FORM})))

    run()

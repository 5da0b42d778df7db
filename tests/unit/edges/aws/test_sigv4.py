"""Signature Version 4 against AWS's published vectors, botocore's signer and every shape that boto3 sends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.core.exchange import Request
from rolecall.core.secrets import Secret
from rolecall.edges.aws import sigv4
from rolecall.edges.aws.sigv4 import SignatureFault
from rolecall.edges.aws.sigv4_canonical import (
    canonical_path,
    canonical_query,
    canonical_request,
    string_to_sign,
)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE/token+with=every==kind"
CORPUS = sorted((Path(__file__).parents[3] / "corpus" / "sigv4").glob("*.json"))
NOW = datetime(2026, 8, 30, 12, 36, tzinfo=UTC).timestamp()
STAMP = "20260830T123600Z"


def signed_by_us(request: Request, **changes: Any) -> Request:
    """Sign with the usual key, for sts in us-west-2 at NOW."""
    usual: dict[str, Any] = {
        "access_key_id": "AKIDEXAMPLE",
        "secret": Secret(SECRET),
        "session_token": None,
        "service": "sts",
        "region": "us-west-2",
        "now": NOW,
    }
    return sigv4.sign(request, **(usual | changes))


def check(request: Request, *, secret: str = SECRET, now: float = NOW, skew: float = 300.0) -> sigv4.Signed:
    """Parse and verify as a server does."""
    signed = sigv4.parse_authorization(request)
    assert signed is not None
    sigv4.verify(request, signed, secret=Secret(secret), now=now, skew=skew)
    return signed


def fault(request: Request, **how: Any) -> str:
    """Return the reason for which the request is refused."""
    with pytest.raises(SignatureFault) as caught:
        check(request, **how)
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value) + caught.value.hint
    return caught.value.reason


def with_header(request: Request, name: str, value: str) -> Request:
    """Replace the value of a header that is there."""
    assert request.header(name) is not None
    return replace(request, headers=tuple((key, value if key == name else old) for key, old in request.headers))


def edited(request: Request, edit: Callable[[str], str]) -> Request:
    """Edit the Authorization header."""
    return with_header(request, "authorization", edit(request.header("authorization") or ""))


POST = Request(
    "POST",
    "/",
    (("host", "sts.us-west-2.amazonaws.com"), ("content-type", "application/x-www-form-urlencoded")),
    b"Action=GetCallerIdentity&Version=2011-06-15",
)

# --- AWS's own vectors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_published_vectors(path: Path) -> None:
    """Our signer gives the signature that AWS publishes, and our verifier accepts it."""
    case = json.loads(path.read_text())
    headers = tuple((name, value) for name, value in case["headers"])
    request = signed_by_us(
        Request(case["method"], case["target"], headers, case["body"].encode()),
        access_key_id=case["access_key_id"],
        secret=Secret(case["secret"]),
        service=case["service"],
        region=case["region"],
        now=case["now"],
    )
    signed = check(request, secret=case["secret"], now=case["now"])
    assert signed.signature == case["signature"]
    assert ";".join(signed.signed_headers) == case["signed_headers"]
    if case["canonical_request_sha256"]:
        shown = sigv4.explain(request, signed)
        canonical = shown.canonical_request.reveal().encode("latin-1")
        assert hashlib.sha256(canonical).hexdigest() == case["canonical_request_sha256"]
        assert shown.string_to_sign.endswith(case["canonical_request_sha256"])


# --- botocore as the oracle --------------------------------------------------------------------------------


def botocore_signed(
    method: str,
    url: str,
    headers: list[tuple[str, str]],
    body: bytes,
    *,
    service: str = "sts",
    token: str = "",
) -> tuple[Request, str, str]:
    """Return the request as botocore's signer sends it, with its canonical request and string to sign."""
    asked = botocore.awsrequest.AWSRequest(method=method, url=url, data=body)
    for name, value in headers:
        asked.headers.add_header(name, value)
    credentials = botocore.credentials.Credentials("AKIDEXAMPLE", SECRET, token or None)
    auth = botocore.auth.SigV4Auth(credentials, service, "us-west-2")
    asked.context["timestamp"] = STAMP
    auth._modify_request_before_signing(asked)
    canonical = auth.canonical_request(asked)
    to_sign = auth.string_to_sign(asked, canonical)
    auth._inject_signature_to_request(asked, auth.signature(to_sign, asked))
    return as_received(method, url, asked.headers.items(), body), canonical, to_sign


def as_received(method: str, url: str, headers: Any, body: bytes) -> Request:
    """Return what a server sees: raw target, lower-case names, UTF-8 bytes read as latin-1, a host header."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    seen = []
    for name, value in headers:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value).encode().decode("latin-1")
        seen.append((name.lower(), text))
    if not any(name == "host" for name, _ in seen):
        seen.append(("host", parts.netloc))
    return Request(method, target, tuple(seen), body)


RAW_PATH = st.lists(
    st.one_of(
        st.sampled_from(["", ".", "..", "arn%3Aaws%3Aeks%3Aus-west-2%3A1%3Acluster%2Fx", "%25", "a~b", "a+b"]),
        st.text(max_size=6).map(lambda text: quote(text, safe="")),
        st.text("!$&'()*+,;=:@-._~abcXYZ019%", max_size=6),
    ),
    max_size=5,
).map(lambda parts: "/" + "/".join(parts))
ENCODED = st.text(max_size=6).map(lambda text: quote(text, safe="-_.~"))
RAW_QUERY = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["tagKeys", "a", "A", "a-"]), ENCODED).map("=".join),
        st.tuples(ENCODED, ENCODED).map("=".join),
        ENCODED,
    ),
    max_size=5,
).map("&".join)
# botocore folds every Unicode blank; on the wire only blanks and tabs can stand inside a value.
HEADER_VALUE = st.text(
    st.characters(min_codepoint=32, blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]) | st.just(" ") | st.just("\t"),
    max_size=12,
)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["x-amz-meta", "X-Amz-Target", "Accept", "content-type", "x-other"]), HEADER_VALUE),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["GET", "POST", "DELETE"]), RAW_PATH, RAW_QUERY, HEADERS, st.binary(max_size=20))
def test_canonicalisation_equals_botocore(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Canonical request, string to sign and signature are botocore's, for any path, query and headers."""
    url = f"https://sts.us-west-2.amazonaws.com{path}" + (f"?{query}" if query else "")
    request, canonical, to_sign = botocore_signed(method, url, headers, body, token=TOKEN)
    signed = check(request)
    ours = canonical_request(request, signed.signed_headers, "sts", hashlib.sha256(body).hexdigest())
    assert ours.decode("utf-8") == canonical
    assert string_to_sign(STAMP, "20260830/us-west-2/sts/aws4_request", ours) == to_sign
    assert signed.session_token == Secret(TOKEN)


@settings(max_examples=80, deadline=None)
@given(RAW_PATH, RAW_QUERY, st.binary(max_size=20), st.sampled_from([None, Secret(TOKEN)]))
def test_our_signatures_equal_botocores(path: str, query: str, body: bytes, token: Secret | None) -> None:
    """What we sign carries botocore's signature, and our verifier accepts it."""
    url = f"https://eks.us-west-2.amazonaws.com{path}" + (f"?{query}" if query else "")
    theirs, _, _ = botocore_signed(
        "POST",
        url,
        [("content-type", "application/json")],
        body,
        service="eks",
        token=token.reveal() if token else "",
    )
    bare = Request(
        "POST",
        theirs.target,
        (("host", "eks.us-west-2.amazonaws.com"), ("content-type", "application/json")),
        body,
    )
    ours = signed_by_us(bare, session_token=token, service="eks")
    assert ours.header("authorization") == theirs.header("authorization")
    check(ours)


ALNUM = "abcdefghijklmnopqrstuvwxyz0123456789"


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    """A botocore-signed request with one byte of anything signed replaced does not verify."""
    word = st.text(ALNUM, min_size=1, max_size=8)
    path, key, value, header, body = (data.draw(word) for _ in range(5))
    url = f"https://eks.us-west-2.amazonaws.com/clusters/{path}?k{key}={value}"
    request, _, _ = botocore_signed("POST", url, [("x-amz-meta", header)], body.encode(), service="eks", token=TOKEN)
    check(request)

    def changed(text: str) -> str:
        at = data.draw(st.integers(0, len(text) - 1))
        return text[:at] + data.draw(st.sampled_from(ALNUM.replace(text[at], ""))) + text[at + 1 :]

    where = data.draw(
        st.sampled_from(["path", "key", "value", "header", "token", "body", "secret", "method", "signature"])
    )
    secret = SECRET
    match where:
        case "path":
            request = replace(request, target=f"/clusters/{changed(path)}?k{key}={value}")
        case "key":
            request = replace(request, target=f"/clusters/{path}?k{changed(key)}={value}")
        case "value":
            request = replace(request, target=f"/clusters/{path}?k{key}={changed(value)}")
        case "header":
            request = with_header(request, "x-amz-meta", changed(header))
        case "token":
            request = with_header(request, "x-amz-security-token", changed(TOKEN))
        case "body":
            request = replace(request, body=changed(body).encode())
        case "secret":
            secret = changed(SECRET)
        case "method":
            request = replace(request, method="PUT")
        case "signature":
            start, _, mark = (request.header("authorization") or "").rpartition("Signature=")
            request = with_header(request, "authorization", f"{start}Signature={changed(mark)}")
    assert fault(request, secret=secret) == "signature-mismatch"


# --- every shape that boto3 sends --------------------------------------------------------------------------

ROLE = "arn:aws:iam::123456789012:role/team/a-b"
CALLS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "sts": [
        ("get_caller_identity", {}),
        (
            "assume_role",
            {
                "RoleArn": ROLE,
                "RoleSessionName": "ünïcode=no@x".encode("ascii", "ignore").decode(),
                "Tags": [{"Key": "a b", "Value": "ü~*'()"}],
                "TransitiveTagKeys": ["a b"],
            },
        ),
    ],
    "iam": [
        ("list_open_id_connect_providers", {}),
        ("create_role", {"RoleName": "r", "AssumeRolePolicyDocument": '{"Statement": [{"a": "b c+d%20"}]}'}),
        ("get_policy_version", {"PolicyArn": "arn:aws:iam::123456789012:policy/p", "VersionId": "v1"}),
    ],
    "eks": [
        ("describe_cluster", {"name": "eks-pod-identity-demo"}),
        ("list_clusters", {"maxResults": 5, "nextToken": "a+/=="}),
        ("list_pod_identity_associations", {"clusterName": "c", "namespace": "n s", "maxResults": 1}),
        (
            "create_pod_identity_association",
            {"clusterName": "c", "namespace": "n", "serviceAccount": "s", "roleArn": ROLE},
        ),
        ("delete_pod_identity_association", {"clusterName": "c", "associationId": "a-1"}),
        ("tag_resource", {"resourceArn": "arn:aws:eks:us-west-2:123456789012:cluster/c", "tags": {"k": "ü"}}),
        (
            "untag_resource",
            {
                "resourceArn": "arn:aws:eks:us-west-2:123456789012:cluster/c",
                "tagKeys": ["b", "a", "a b", "ü"],
            },
        ),
        ("list_tags_for_resource", {"resourceArn": "arn:aws:eks:us-west-2:123456789012:cluster/c"}),
    ],
    "eks-auth": [("assume_role_for_pod_identity", {"clusterName": "c", "token": "a.b.c"})],
    "s3": [
        ("get_object", {"Bucket": "b", "Key": "a//b/../c d+ü%2F"}),
        ("put_object", {"Bucket": "b", "Key": "k", "Body": b"x", "Metadata": {"m": "two  blanks"}}),
    ],
}


class _NotSentError(Exception):
    """Ends a boto3 call in the moment before it would open a socket."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Request]:
    """A function that makes a boto3 call and returns the request in the moment before it would be sent."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    session = boto3.session.Session("AKIDEXAMPLE", SECRET, TOKEN, region_name="us-west-2")

    def make(service: str, call: str, arguments: dict[str, Any], endpoint: str | None) -> Request:
        caught: list[Request] = []

        def hook(request: Any, **_: Any) -> Any:
            body = request.body or b""
            body = body if isinstance(body, bytes) else body.read() if hasattr(body, "read") else body.encode()
            caught.append(as_received(request.method, request.url, request.headers.items(), body))
            raise _NotSentError

        client = session.client(
            service,
            endpoint_url=endpoint,
            config=botocore.config.Config(retries={"max_attempts": 0}, request_checksum_calculation="when_required"),
        )
        client.meta.events.register("before-send", hook)
        with pytest.raises(_NotSentError):
            getattr(client, call)(**arguments)
        client.close()
        return caught[0]

    return make


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:4500"], ids=["aws", "loopback"])
@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [(service, *call) for service, calls in CALLS.items() for call in calls],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_shape_of_boto3_verifies(
    sent: Callable[..., Request], service: str, call: str, arguments: dict[str, Any], endpoint: str | None
) -> None:
    """Signed by boto3 at its own time, verified by us; and refused with another secret."""
    request = sent(service, call, arguments, endpoint)
    signed = sigv4.parse_authorization(request)
    assert signed is not None
    assert signed.service == service
    assert signed.access_key_id == "AKIDEXAMPLE"
    assert signed.region == ("us-east-1" if service == "iam" and endpoint is None else "us-west-2")
    at = datetime.strptime(signed.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if request.header("x-amz-content-sha256") in {"UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}:
        assert fault(request, now=at) == "body-hash"
        return
    check(request, now=at)
    assert fault(request, now=at, secret=SECRET[::-1]) == "signature-mismatch"


# --- refusals ----------------------------------------------------------------------------------------------


def test_unsigned_request_is_none() -> None:
    """No Authorization header is no signature: the caller of the function decides what that means."""
    assert sigv4.parse_authorization(POST) is None


@pytest.mark.parametrize(
    ("reason", "edit"),
    [
        ("unsupported", lambda value: value.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
        ("unsupported", lambda _: "Bearer a.b.c"),
        ("unsupported", lambda _: ""),
        ("incomplete", lambda _: "AWS4-HMAC-SHA256"),
        ("incomplete", lambda value: value.replace("Signature=", "Mark=")),
        ("incomplete", lambda value: value.replace("Credential=", "Credential")),
        ("incomplete", lambda value: value.replace("/us-west-2/", "/")),
        ("malformed", lambda value: value.replace("aws4_request", "aws5_request")),
        ("malformed", lambda value: value.replace("/us-west-2/", "//")),
        ("malformed", lambda value: value.replace("AKIDEXAMPLE", "AK\u00fcD")),
        ("malformed", lambda value: value.replace("content-type;host", "host;content-type")),
        ("malformed", lambda value: value.replace("content-type;host", "Content-Type;host")),
        ("malformed", lambda value: value.replace("host;", "host;host;")),
        (
            "malformed",
            lambda value: value.replace("host;", ";".join(f"h{n:03}" for n in range(100)) + ";host;"),
        ),
        ("malformed", lambda value: value + "0" * 9000),
        ("duplicate", lambda value: value + ", Signature=00"),
        ("unsigned-header", lambda value: value.replace("content-type;host;", "content-type;")),
        ("unsigned-header", lambda value: value.replace(";x-amz-date", "")),
        ("scope-date", lambda value: value.replace("/20260830/", "/20260829/")),
        ("signature-mismatch", lambda value: value + "0"),
        ("signature-mismatch", lambda value: value.rpartition("=")[0] + "=\u00fc"),
        ("signature-mismatch", lambda value: value.replace("/us-west-2/", "/us-east-1/")),
        ("signature-mismatch", lambda value: value.replace("/sts/", "/iam/")),
        ("signature-mismatch", lambda value: value.replace("host;", "host;lost;")),
    ],
)
def test_authorization_header_faults(reason: str, edit: Callable[[str], str]) -> None:
    """Each way of getting the Authorization header wrong has its own reason."""
    request = signed_by_us(POST)
    assert fault(edited(request, edit)) == reason


def test_lost_signed_header_is_named_in_the_hint() -> None:
    """A proxy that drops a signed header is found by the hint."""
    request = signed_by_us(replace(POST, headers=(*POST.headers, ("x-other", "1"))))
    lost = replace(request, headers=tuple(pair for pair in request.headers if pair[0] != "x-other"))
    with pytest.raises(SignatureFault, match="does not match") as caught:
        check(lost)
    assert "x-other" in caught.value.hint


@pytest.mark.parametrize("name", ["authorization", "host", "x-amz-date", "x-amz-security-token"])
def test_headers_that_must_be_single(name: str) -> None:
    """A second value of a header that decides is refused, even an equal one."""
    request = signed_by_us(POST, session_token=Secret(TOKEN))
    assert fault(replace(request, headers=(*request.headers, (name, request.header(name) or "")))) == "duplicate"


def test_added_amz_header_is_refused() -> None:
    """An x-amz-… header put in on the way is refused, but for the one that the PHP SDK does not sign."""
    request = signed_by_us(POST)
    added = replace(request, headers=(*request.headers, ("x-amz-security-token", TOKEN)))
    assert fault(added) == "unsigned-header"
    check(replace(request, headers=(*request.headers, ("x-amz-user-agent", "aws-sdk-php/3"))))


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (-301, "clock-skew"),
        (-300, None),
        (0, None),
        (300, None),
        (301, "clock-skew"),
        (-90_000, "clock-skew"),
    ],
)
def test_clock_skew(offset: float, reason: str | None) -> None:
    """Five minutes either way are accepted, a second more is not."""
    request = signed_by_us(POST)
    if reason is None:
        check(request, now=NOW + offset)
    else:
        assert fault(request, now=NOW + offset) == reason


def test_clock_skew_sentences() -> None:
    """The sentences are AWS's, with the times that were compared."""
    request = signed_by_us(POST)
    with pytest.raises(SignatureFault) as caught:
        check(request, now=NOW + 1200, skew=900)
    assert caught.value.message == (
        "Signature expired: 20260830T123600Z is now earlier than 20260830T124100Z (20260830T125600Z - 15 min.)"
    )
    with pytest.raises(SignatureFault) as caught:
        check(request, now=NOW - 1260, skew=900)
    assert caught.value.message == (
        "Signature not yet current: 20260830T123600Z is still later than 20260830T123000Z (20260830T121500Z + 15 min.)"
    )


@pytest.mark.parametrize("stated", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64, ""])
def test_stated_payload_hash_must_be_the_bodys(stated: str) -> None:
    """x-amz-content-sha256 is believed only when it is the hash of the body that arrived."""
    request = signed_by_us(replace(POST, headers=(*POST.headers, ("x-amz-content-sha256", stated))))
    assert fault(request) == "body-hash"


def test_true_payload_hash_is_accepted() -> None:
    """The JavaScript SDK states the hash on every request."""
    stated = hashlib.sha256(POST.body).hexdigest()
    request = signed_by_us(replace(POST, headers=(*POST.headers, ("x-amz-content-sha256", stated))))
    check(request)
    assert fault(replace(request, body=b"other")) == "body-hash"


@pytest.mark.parametrize(
    "date", ["20260830", "2026-08-30T12:36:00Z", "20261330T123600Z", "Sun, 30 Aug 2026 12:36:00 GMT"]
)
def test_dates_that_are_not_basic_iso(date: str) -> None:
    """Only the basic form of ISO 8601 is a time of signing."""
    assert fault(with_header(signed_by_us(POST), "x-amz-date", date)) == "malformed"


def test_missing_date_is_incomplete() -> None:
    """Without x-amz-date and date nothing says when the request was signed."""
    request = signed_by_us(POST)
    bare = replace(request, headers=tuple(pair for pair in request.headers if pair[0] != "x-amz-date"))
    assert fault(bare) == "incomplete"


@pytest.mark.parametrize("target", ["http://127.0.0.1/", "*", "", "/a b", "/\u00fc"])
def test_targets_that_are_not_paths(target: str) -> None:
    """An absolute form, a blank or a raw non-ASCII letter in the target is refused before any hashing."""
    assert fault(replace(signed_by_us(POST), target=target)) == "malformed"


def test_presigned_query_is_unsupported() -> None:
    """A presigned request (here: botocore's) gets an answer that says what to do."""
    asked = botocore.awsrequest.AWSRequest(
        method="GET", url="https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity"
    )
    credentials = botocore.credentials.Credentials("AKIDEXAMPLE", SECRET, TOKEN)
    botocore.auth.SigV4QueryAuth(credentials, "sts", "us-west-2", expires=60).add_auth(asked)
    with pytest.raises(SignatureFault) as caught:
        sigv4.parse_authorization(as_received("GET", asked.url, [], b""))
    assert caught.value.reason == "unsupported"
    assert "Authorization" in caught.value.hint


def test_sign_needs_a_host() -> None:
    """A request without host cannot be signed."""
    with pytest.raises(SignatureFault, match="host"):
        signed_by_us(Request("GET", "/", ()))


def test_signing_again_replaces_the_first_signature() -> None:
    """A retry a minute later carries one date, one token and one signature."""
    first = signed_by_us(POST, session_token=Secret("first"))
    second = signed_by_us(first, session_token=Secret(TOKEN), now=NOW + 60)
    assert second == signed_by_us(POST, session_token=Secret(TOKEN), now=NOW + 60)


def test_hop_by_hop_headers_are_not_signed() -> None:
    """What a proxy may change does not take part, so changing it does not break the signature."""
    request = signed_by_us(replace(POST, headers=(*POST.headers, ("user-agent", "a"), ("connection", "close"))))
    check(with_header(with_header(request, "user-agent", "b"), "connection", "keep-alive"))


def test_s3_signs_the_path_as_sent() -> None:
    """S3 neither normalises nor encodes again; the others do both."""
    assert canonical_path("/a//b/../c%20d", "s3") == b"/a//b/../c%20d"
    assert canonical_path("/a//b/../c%20d", "sts") == b"/a/c%2520d"
    assert canonical_path("/", "sts") == b"/"


def test_query_is_decoded_and_encoded_in_one_way() -> None:
    """Lower-case escapes and letters that need none come out as AWS writes them."""
    assert canonical_query("b=%7e&a=%2f&a=%2B&a") == b"a=&a=%2B&a=%2F&b=~"


def test_secrets_stay_out_of_reprs() -> None:
    """Neither the parsed signature nor its explanation shows the session token."""
    request = signed_by_us(POST, session_token=Secret(TOKEN))
    signed = check(request)
    assert TOKEN not in repr(signed)
    assert TOKEN not in repr(sigv4.explain(request, signed))
    assert TOKEN in sigv4.explain(request, signed).canonical_request.reveal()

"""The Pod Identity door. tests/corpus/door: one file is one case, its texts from the specification it names."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall import errors
from rolecall.core.credentials import Credentials
from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Refusal
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.mechanisms.pod_identity import door

NOW = 1_700_000_000.0
HOSTS = frozenset({"169.254.170.23", "fd00:ec2::23"})
FILES = sorted((Path(__file__).parents[3] / "corpus" / "door").glob("*.json"))
CASES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
TEXT_HEADERS = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


def of_kind(kind: str) -> list[str]:
    """Return the names of the cases of one kind."""
    return [name for name, case in CASES.items() if case["kind"] == kind]


def b64(text: str) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def token_of(parts: dict[str, Any]) -> str:
    """Return the token that a case describes by its parts."""
    header = parts["header_text"] if "header_text" in parts else json.dumps(parts["header"])
    claims = parts["claims_text"] if "claims_text" in parts else json.dumps(parts["claims"])
    return f"{b64(header)}.{b64(claims)}.{parts.get('signature', 'c2ln')}"


def request_of(case: dict[str, Any]) -> tuple[Request, str]:
    """Return a case's request and the token it carries."""
    asked = case["request"]
    token = token_of(asked["token"]) if "token" in asked else asked["authorization"]
    headers = [("host", asked["host"])] + ([("authorization", token)] if token is not None else [])
    return Request(asked["method"], asked["target"], tuple(headers), peer="10.0.0.7"), token or ""


def check(reply: Reply, wanted: dict[str, Any]) -> None:
    """Compare a text reply: status, headers, and the body with its newline."""
    assert reply.status == wanted["status"]
    assert dict(reply.headers) == TEXT_HEADERS | wanted.get("headers", {})
    if "text" in wanted:
        assert reply.body == (wanted["text"] + "\n").encode()
    else:
        assert reply.body.startswith(wanted["starts"].encode())
        assert reply.body.endswith(b"\n")


@pytest.mark.parametrize("name", of_kind("request"))
def test_request(name: str) -> None:
    """A request becomes an Ask with the trimmed token, or the reply that refuses it."""
    request, token = request_of(CASES[name])
    got = door.parse(request, allowed_hosts=HOSTS, now=NOW)
    wanted = CASES[name]["reply"]
    if wanted == "asks":
        assert got == Ask(token=Secret(token.strip()), peer="10.0.0.7")
        return
    assert isinstance(got, Reply)
    check(got, wanted)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("path-deeper", "not-found"),
        ("method-delete", "method"),
        ("host-name", "host"),
        ("token-absent", "no-token"),
        ("alg-missing", "malformed-token"),
        ("expired", "expired-token"),
        ("expired-and-not-yet", "expired-token"),
        ("not-yet", "early-token"),
    ],
)
def test_a_refusal_has_a_word(name: str, word: str) -> None:
    """By which it is counted; it is no part of what is sent."""
    got = door.parse(request_of(CASES[name])[0], allowed_hosts=HOSTS, now=NOW)
    assert isinstance(got, Reply)
    assert got.reason == word
    assert got == Reply(got.status, got.body, got.headers)


def test_every_refusal_has_a_word() -> None:
    """None of the cases is counted under nothing."""
    for name in of_kind("request"):
        got = door.parse(request_of(CASES[name])[0], allowed_hosts=HOSTS, now=NOW)
        assert isinstance(got, Ask) or got.reason, name


def test_the_claims_of_a_request_are_read_unbelieved() -> None:
    """For a log that says which pod was refused; what cannot be read says nothing."""
    good = request_of(CASES["good"])[0]
    assert door.payload_in(good) == CASES["good"]["request"]["token"]["claims"]
    assert door.payload_in(Request("GET", door.PATH, (("authorization", "no token"),))) == {}
    assert door.payload_in(Request("GET", door.PATH, ())) == {}


@pytest.mark.parametrize("name", of_kind("issued"))
def test_issued(name: str) -> None:
    """Credentials are written byte for byte as AWS's agent writes them."""
    values = dict(CASES[name]["issued"])
    credentials = Credentials(
        access_key_id=values["access_key_id"],
        secret_access_key=Secret(values["secret_access_key"]),
        session_token=Secret(values["session_token"]),
        expires_at=values["expires_at"],
        account=AccountId.parse(values["account"]),
    )
    reply = door.render(Issued(credentials, "arn:aws:sts::111122223333:assumed-role/r/s", "AROA:s"))
    assert (reply.status, reply.body.decode()) == (200, CASES[name]["reply"]["body"])
    assert dict(reply.headers) == {"content-type": "application/json", "cache-control": "no-store"}
    assert json.loads(reply.body)["Token"] == values["session_token"]


@pytest.mark.parametrize("name", of_kind("error"))
def test_error(name: str) -> None:
    """An error is plain text with the status that tells an SDK whether to try again."""
    described = dict(CASES[name]["error"])
    kind = getattr(errors, described.pop("type"))
    positional = [described.pop(key) for key in ("code", "message") if key in described and kind is errors.ServiceError]
    if kind in (errors.Upstream, errors.BadInput):
        positional = [described.pop("message")]
    check(door.render_error(kind(*positional, **described)), CASES[name]["reply"])


def test_a_refusal_of_our_own_is_final() -> None:
    """A decision against the pod is a 4xx: retrying cannot help."""
    reply = door.render_error(errors.Refused(Refusal("pod-gone", "the pod has ended")))
    assert (reply.status, reply.body) == (400, b"the pod has ended\n")


@pytest.mark.parametrize("padding", [0, 40, 5000])
def test_the_token_is_the_requests_whatever_bytes_it_came_as(padding: int) -> None:
    """It may be a part of the request's bytes, unless they are much longer: those would be kept with it."""
    token = token_of({"header": {"alg": "RS256"}, "claims": {"sub": "a" * 300}})
    raw = f"GET {door.PATH} HTTP/1.1\r\nhost: 169.254.170.23\r\nauthorization: {token}\r\nx: {'x' * padding}\r\n\r\n"
    headers = (("host", "169.254.170.23"), ("authorization", token))
    asked = door.parse(Request("GET", door.PATH, headers, raw=raw.encode()), allowed_hosts=HOSTS, now=NOW)
    assert isinstance(asked, Ask)
    assert asked.token is not None
    assert asked.token == Secret(token)
    whole = asked.token.reveal_bytes() is asked.token.reveal_bytes()
    assert whole is (padding == 5000), "a part is copied when it is opened"


def test_only_the_first_authorization_counts() -> None:
    """A second Authorization header is not read (aws-pod-identity.md §1.3)."""
    first, second = token_of({"header": {"alg": "RS256"}, "claims": {"n": 1}}), "x"
    headers = (("host", "169.254.170.23"), ("authorization", first), ("authorization", second))
    got = door.parse(Request("GET", door.PATH, headers), allowed_hosts=HOSTS, now=NOW)
    assert got == Ask(token=Secret(first))


def test_the_hosts_are_those_of_the_binding() -> None:
    """In dev the door is bound to 127.0.0.1 and answers to that, not to AWS's addresses."""
    token = token_of({"header": {"alg": "RS256"}, "claims": {}})

    def ask(host: str) -> Ask | Reply:
        headers = (("host", host), ("authorization", token))
        return door.parse(Request("GET", door.PATH, headers), allowed_hosts={"127.0.0.1"}, now=NOW)

    assert isinstance(ask("127.0.0.1:4501"), Ask)
    refused = ask("169.254.170.23")
    assert isinstance(refused, Reply)
    assert refused.body == (
        b"Access Denied. Called agent through invalid address, please use either [127.0.0.1] address "
        b"not 169.254.170.23\n"
    )


def test_a_token_of_any_size_is_bounded() -> None:
    """64 KiB is read, one more is refused, and the refusal is as long as any other."""
    part = b64('{"alg":"RS256"}') + ".e30."
    longest = part + "A" * (65_536 - len(part))

    def parsed(token: str) -> Ask | Reply:
        headers = (("host", "169.254.170.23"), ("authorization", token))
        return door.parse(Request("GET", door.PATH, headers), allowed_hosts=HOSTS, now=NOW)

    assert isinstance(parsed(longest), Ask)
    refused = parsed(longest + "AAAA")
    assert isinstance(refused, Reply)
    assert refused.status == 400
    assert len(refused.body) < 200


TIMES = {
    "whole": (1_700_000_500, 1_700_000_500.0),
    "fraction": (1_700_000_500.5, 1_700_000_500.5),
    "text": ("1700000500", 1_700_000_500.0),
    "absent": (None, None),
    "word": ("soon", None),
    "true": (True, None),
    "beyond any float": (10**400, None),
}


@pytest.mark.parametrize(("exp", "ends"), TIMES.values(), ids=TIMES)
def test_when_a_token_ends(exp: object, ends: float | None) -> None:
    """The cache asks when a token says that it ends; whatever it says, nothing is raised."""
    token = f"{b64('{}')}.{b64(json.dumps({'exp': exp}))}.c2ln"
    assert door.token_ends(Ask(token=Secret(token))) == ends


def test_nothing_is_known_of_what_is_no_token() -> None:
    """No token, or no JWS: no claims and no end."""
    assert door.token_ends(Ask()) is None
    assert door.payload_of(Ask(token=Secret("a.b"))) == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
claim_names = st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "jti", "alg", "kubernetes.io"])
shaped_tokens = st.builds(
    lambda header, claims, tail: f"{b64(json.dumps(header))}.{b64(json.dumps(claims))}.{tail}",
    st.dictionaries(claim_names, json_values | st.just("RS256"), max_size=3),
    st.dictionaries(claim_names, json_values, max_size=4),
    st.text(alphabet="abcXYZ09_-=.", max_size=12),
)
any_text = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=80)


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", ""]),
    target=st.sampled_from([door.PATH, door.PATH + "?x"]) | any_text,
    host=st.sampled_from(["169.254.170.23", "[fd00:ec2::23]:80", "[", "]", ":"]) | any_text | st.text(max_size=20),
    token=shaped_tokens | any_text,
)
def test_parsing_never_raises_and_never_repeats_the_token(method: str, target: str, host: str, token: str) -> None:
    """Whatever is sent: an Ask, or a text reply of an error status in which the token does not stand."""
    request = Request(method, target, (("host", host), ("authorization", token)))
    got = door.parse(request, allowed_hosts=HOSTS, now=NOW)
    sent = token.strip()
    if isinstance(got, Ask):
        assert got.token == Secret(sent)
        return
    assert 400 <= got.status < 500
    assert dict(got.headers).items() >= TEXT_HEADERS.items()
    if len(sent) >= 10 and sent not in host:
        assert sent.encode("utf-8", "replace") not in got.body


def test_every_case_says_what_it_rests_on() -> None:
    """No expected text without a source, and no kind of case that nothing runs."""
    assert len(CASES) > 70
    assert all(case["description"] and case["source"] for case in CASES.values())
    assert {case["kind"] for case in CASES.values()} == {"request", "issued", "error"}

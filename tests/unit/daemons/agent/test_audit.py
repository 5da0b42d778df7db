"""The audit trail: a line for everything that was issued, one for every refusal, and no secret in any."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import jwt
import pytest

from rolecall.core.exchange import Request
from rolecall.core.grant import Refusal
from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Subject
from rolecall.daemons.agent.audit import Audit
from rolecall.edges.http_call import CallFailed
from rolecall.edges.telemetry import JsonLines, Log
from rolecall.errors import BadToken, Misconfigured, Refused, RolecallError, ServiceError, UpstreamAnswered
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import issued

# What the API server writes into a token of a pod (Kubernetes, "Managing Service Accounts": schema for private claims).
POD = {
    "namespace": "claimed-ns",
    "serviceaccount": {"name": "claimed-sa", "uid": "u-1"},
    "pod": {"name": "web-7d4b9", "uid": "u-2"},
    "node": {"name": "node-1", "uid": "u-3"},
}
UNVERIFIED = {
    "unverified_namespace": "claimed-ns",
    "unverified_service_account": "claimed-sa",
    "unverified_pod": "web-7d4b9",
    "unverified_pod_uid": "u-2",
    "unverified_node": "node-1",
}
ISSUED = replace(
    issued("session", 1_700_003_600.9),
    subject=Subject(Namespace("ns"), ServiceAccountName("sa")),
    association_arn="arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1",
    association_id="a-1",
    request_id="4f0a",
)


def token(claims: dict[str, Any]) -> str:
    """Return a token of these claims."""
    return jwt.PyJWS().encode(json.dumps(claims).encode(), "k" * 64, algorithm="HS256")


def ask(claims: dict[str, Any] | None = None) -> Ask:
    """Return an ask with a token."""
    return Ask(token=Secret(token({"kubernetes.io": POD} if claims is None else claims)), peer="10.0.0.7")


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Audit:
    """A trail that is listened to."""
    caplog.set_level(logging.INFO, logger="rolecall.test_audit")
    return Audit(FakeClock(), Log("rolecall.test_audit"))


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return what was written, parsed."""
    found = [json.loads(JsonLines().format(record)) for record in caplog.records]
    for line in found:
        del line["time"]
    return found


@pytest.mark.parametrize("renewal", [False, True])
def test_what_was_issued_is_written(audit: Audit, caplog: pytest.LogCaptureFixture, renewal: bool) -> None:
    """To whom by the issuer's word, which session by which association until when; the pod by the token's own."""
    audit.landed(ask(), ISSUED, renewal)
    assert lines(caplog) == [
        {
            "level": "info",
            "event": "agent.issued",
            "peer": "10.0.0.7",
            "namespace": "ns",
            "service_account": "sa",
            "unverified_pod": "web-7d4b9",
            "unverified_pod_uid": "u-2",
            "association": "a-1",
            "association_arn": "arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1",
            "role_session": "arn:aws:sts::123456789012:assumed-role/demo/session",
            "expires": "2023-11-14T23:13:20Z",
            "request_id": "4f0a",
            "renewal": renewal,
        }
    ]
    assert "secret" not in caplog.text


DENIED = UpstreamAnswered(status=400, code="AccessDeniedException", message="no", request_id="id-1")
THROTTLED = UpstreamAnswered(status=429, code="ThrottlingException", message="slow down")
OTHER_NODE = BadToken("other-node", "the token belongs to another node")
NO_KEY = Misconfigured("there are no AWS credentials to sign with", hint="set them")


@pytest.mark.parametrize(
    ("error", "renewal", "level", "event", "code"),
    [
        (DENIED, False, "warning", "agent.refused", "AccessDeniedException"),
        (DENIED, True, "warning", "agent.refused", "AccessDeniedException"),
        (OTHER_NODE, False, "warning", "agent.refused", "other-node"),
        (Refused(Refusal("no-association", "none")), False, "warning", "agent.refused", "no-association"),
        (THROTTLED, False, "error", "agent.upstream_failed", "ThrottlingException"),
        (CallFailed("https://x", "timeout"), False, "error", "agent.upstream_failed", "timeout"),
        (CallFailed("https://x", "tls"), False, "error", "agent.upstream_failed", "tls"),
        (NO_KEY, False, "error", "agent.upstream_failed", "Misconfigured"),
        (NO_KEY, True, "error", "agent.upstream_failed", "Misconfigured"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_a_failure_is_a_refusal_or_is_none(
    audit: Audit,
    caplog: pytest.LogCaptureFixture,
    error: RolecallError,
    renewal: bool,
    level: str,
    event: str,
    code: str,
) -> None:
    """Who said no, and who could not say anything, are different lines; both name the pod that asked."""
    audit.landed(ask(), error, renewal)
    (line,) = lines(caplog)
    assert (line["level"], line["event"], line["code"]) == (level, event, code)
    assert (line["peer"], line["why"], line["renewal"]) == ("10.0.0.7", error.message, renewal)
    assert {name: text for name, text in line.items() if name.startswith("unverified_")} == UNVERIFIED
    assert line.get("hint", "") == error.hint
    assert line.get("request_id", "") == getattr(error, "request_id", "")
    assert not {"namespace", "service_account"} & line.keys(), "nobody has verified whose token it is"


def test_a_renewal_that_may_yet_succeed_is_the_caches_to_tell(audit: Audit, caplog: pytest.LogCaptureFixture) -> None:
    """It says when it tries again. A limit of our own is told where the door says so."""
    audit.landed(ask(), THROTTLED, True)
    audit.landed(ask(), ServiceError("TooManyRequests", "Too Many Requests", status=429), False)
    audit.landed(ask(), ZeroDivisionError("a defect, which is logged where it happens"), False)
    assert lines(caplog) == []


def test_a_refusal_at_the_door_names_the_pod(audit: Audit, caplog: pytest.LogCaptureFixture) -> None:
    """As its expired token does, which is only read."""
    headers = (("host", "169.254.170.23"), ("authorization", token({"exp": 1, "kubernetes.io": POD})))
    audit.refused(Request("GET", "/v1/credentials", headers, peer="10.0.0.7"), "expired-token", 400, "")
    wanted = {"level": "warning", "event": "agent.refused", "peer": "10.0.0.7", "code": "expired-token", "status": 400}
    assert lines(caplog) == [wanted | UNVERIFIED]


@pytest.mark.parametrize(
    "claims",
    [{}, {"kubernetes.io": []}, {"kubernetes.io": {"pod": "x", "namespace": 7, "node": {"name": ["n"]}}}],
    ids=str,
)
def test_claims_of_other_shapes_say_nothing(
    audit: Audit, caplog: pytest.LogCaptureFixture, claims: dict[str, Any]
) -> None:
    """Whoever makes tokens up may write anything into them."""
    audit.landed(ask(claims), DENIED, False)
    assert not [name for name in lines(caplog)[0] if name.startswith("unverified_")]


def test_a_claim_is_cut(audit: Audit, caplog: pytest.LogCaptureFixture) -> None:
    """No line grows by what a token says."""
    audit.landed(ask({"kubernetes.io": {"pod": {"name": "x" * 40_000}}}), DENIED, False)
    assert lines(caplog)[0]["unverified_pod"] == "x" * 253


def test_refusals_are_bounded_and_issuances_are_not(audit: Audit, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage tokens cannot fill a disk, nor push out of the trail who got credentials."""
    garbage = Request("GET", "/v1/credentials", (("authorization", "x"),), peer="10.0.0.7")
    for _ in range(1000):
        audit.refused(garbage, "malformed-token", 400, "")
    for _ in range(300):
        audit.landed(ask(), ISSUED, False)
    events = [line["event"] for line in lines(caplog)]
    assert (events.count("agent.refused"), events.count("agent.issued"), audit.unwritten) == (200, 300, 800)


def test_our_own_limit_is_a_refusal(audit: Audit, caplog: pytest.LogCaptureFixture) -> None:
    """The door says so itself, with its reason."""
    limit = ServiceError("TooManyRequests", "Too Many Requests", status=429)
    audit.refused(Request("GET", "/", (), peer="10.0.0.7"), limit.word, limit.status, limit.message)
    assert lines(caplog)[0] == {
        "level": "warning", "event": "agent.refused", "peer": "10.0.0.7", "code": "TooManyRequests", "status": 429,
        "why": "Too Many Requests",
    }  # fmt: skip


@pytest.mark.parametrize("renewal", [False, True])
def test_an_agent_that_is_not_believed_is_an_error_and_no_refusal(
    audit: Audit, caplog: pytest.LogCaptureFixture, renewal: bool
) -> None:
    """Whatever the pod: loud, with what to look at, also where the pod does not notice yet."""
    fault = UpstreamAnswered(status=403, code="InvalidSignatureException", message="no match", request_id="4f0b")
    audit.landed(ask(), fault, renewal)
    (line,) = lines(caplog)
    assert (line["level"], line["event"]) == ("error", "agent.not_believed")
    assert (line["code"], line["status"], line["request_id"]) == ("InvalidSignatureException", 403, "4f0b")
    assert "whether it may ask" in line["hint"]

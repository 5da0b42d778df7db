"""Asking EKS Auth: signing, retries, deadline, errors. Upstream is a fake HTTP client, time is virtual."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rolecall.core.names import ClusterName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.edges.aws.attempts import Calling
from rolecall.edges.aws.authentication import ServiceAccountToken, Signature
from rolecall.edges.aws.eks_auth import EksAuth
from rolecall.edges.aws.endpoints import eks_auth_endpoint
from rolecall.edges.aws.node_credentials import EnvironmentCredentials, NodeCredentials, SharedFileCredentials
from rolecall.edges.http_call import CallFailed
from rolecall.edges.http_client import HttpAnswer
from rolecall.errors import BadInput, Misconfigured, Upstream, UpstreamAnswered
from rolecall.mechanisms.pod_identity import wire
from rolecall.testing.fake_clock import FakeClock

KEY = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI"}
TOKEN = ".".join(("eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ" * 20, "c2lnbmF0dXJl" * 20))
# The answer of the EKS Auth API Reference's AssumeRoleForPodIdentity, "Response Syntax".
ISSUED = {
    "subject": {"namespace": "demo-ns", "serviceAccount": "demo-sa"},
    "audience": "pods.eks.amazonaws.com",
    "podIdentityAssociation": {
        "associationArn": "arn:aws:eks:us-west-2:123456789012:podidentityassociation/one/a-abcdefghijklmnop1",
        "associationId": "a-abcdefghijklmnop1",
    },
    "assumedRoleUser": {"arn": "arn:aws:sts::123456789012:assumed-role/demo/eks-one-pod", "assumeRoleId": "AROA:eks"},
    "credentials": {
        "sessionToken": "session",
        "secretAccessKey": "secret",
        "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "expiration": 1_700_021_600,
    },
}


def ok() -> HttpAnswer:
    """Return the answer that brings credentials."""
    return HttpAnswer(200, (("content-type", "application/json"),), json.dumps(ISSUED).encode())


def error(status: int, code: str, message: str = "because") -> HttpAnswer:
    """Return a rest-json error."""
    headers = (("x-amzn-errortype", code), ("x-amzn-requestid", "id-1"))
    return HttpAnswer(status, headers, json.dumps({"message": message}).encode())


class FakeHttp:
    """Answers each call with the next of `answers`, the last one for ever; each takes `seconds`."""

    def __init__(self, clock: FakeClock, *answers: HttpAnswer | Exception, seconds: float = 0.0) -> None:
        self.clock, self.answers, self.seconds = clock, list(answers), seconds
        self.calls: list[tuple[str, str, dict[str, str], bytes, dict[str, Any]]] = []
        self.times: list[float] = []

    async def call(self, method: str, url: str, headers: Any = (), body: bytes = b"", **bounds: Any) -> HttpAnswer:
        """Answer."""
        self.calls.append((method, url, dict(headers), body, bounds))
        self.times.append(self.clock.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await self.clock.sleep(min(self.seconds, bounds["timeout"]))
        if isinstance(answer, Exception):
            raise answer
        return answer


def play(
    scene: Callable[[EksAuth, FakeHttp], Awaitable[None]],
    *answers: HttpAnswer | Exception,
    seconds: float = 0.0,
    credentials: NodeCredentials | None = None,
    attempts: int = 3,
    told: Callable[[str, float], None] | None = None,
    **options: Any,
) -> FakeHttp:
    """Run a scene while time passes by itself."""

    async def run() -> FakeHttp:
        clock = FakeClock()
        http = FakeHttp(clock, *answers, seconds=seconds)
        calling = Calling(http=http, clock=clock, dice=lambda: 1.0, attempts=attempts, told=told)  # type: ignore[arg-type]
        source = EksAuth(
            **{
                "endpoint": eks_auth_endpoint("us-west-2", {}),
                "authentication": Signature(
                    credentials or EnvironmentCredentials(KEY), region="us-west-2", clock=clock
                ),
                "wire": wire,
                "calling": calling,
                "cluster": ClusterName.parse("one"),
                **options,
            }
        )
        playing = asyncio.ensure_future(scene(source, http))
        while not playing.done():
            await clock.advance(0.05)
        await playing
        return http

    return asyncio.run(run())


async def ask(source: EksAuth, **fields: Any) -> Any:
    """Ask with the token."""
    return await source(Ask(**{"token": Secret(TOKEN), **fields}))


@pytest.mark.parametrize(
    ("options", "url"),
    [
        pytest.param({}, "https://eks-auth.us-west-2.api.aws/clusters/one/assume-role-for-pod-identity", id="AWS's"),
        pytest.param(
            {"endpoint": "http://127.0.0.1:4500/base/"},
            "http://127.0.0.1:4500/base/clusters/one/assume-role-for-pod-identity",
            id="our own",
        ),
    ],
)
def test_a_call_is_signed_as_botocore_signs_it(options: dict[str, Any], url: str) -> None:
    """EKS Auth's path and body (aws-pod-identity.md §3.1), and SigV4 for `eks-auth` in the region."""

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        issued = await ask(source)
        assert issued.credentials.expires_at == 1_700_021_600
        assert issued.credentials.account == "123456789012"
        assert issued.association_id == "a-abcdefghijklmnop1"

    http = play(scene, ok(), **options)
    ((method, called, headers, body, bounds),) = http.calls
    assert (method, called) == ("POST", url)
    assert json.loads(body) == {"token": TOKEN}
    assert datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() == 1_700_000_000
    assert "SignedHeaders=content-type;host;x-amz-date," in headers["authorization"]
    assert bounds == {"connect_timeout": 1.0, "timeout": 3.0, "longest_body": 65_536}
    signed = {name: headers[name] for name in ("content-type", "host", "x-amz-date")}
    request = AWSRequest(method, url, signed, body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials(*KEY.values()), "eks-auth", "us-west-2")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert headers["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(error(429, "ThrottlingException"), id="throttled"),
        pytest.param(error(500, "InternalServerException"), id="500"),
        pytest.param(error(503, "ServiceUnavailableException"), id="503"),
        pytest.param(CallFailed("https://x", "timeout"), id="timeout"),
        pytest.param(CallFailed("https://x", "refused"), id="refused"),
    ],
)
def test_what_may_pass_is_tried_again(failure: HttpAnswer | Exception) -> None:
    """Three attempts with growing pauses, each signed afresh; the third one's error is the answer."""

    async def recovers(source: EksAuth, _http: FakeHttp) -> None:
        assert await ask(source)

    async def fails(source: EksAuth, _http: FakeHttp) -> None:
        with pytest.raises(Upstream):
            await ask(source)

    assert len(play(recovers, failure, failure, ok()).calls) == 3
    http = play(fails, failure, seconds=1.0)
    assert http.times == pytest.approx([0.0, 1.2, 2.6])
    assert len({headers["x-amz-date"] for _, _, headers, _, _ in http.calls}) == 3


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(error(400, "AccessDeniedException"), id="denied"),
        pytest.param(error(400, "InvalidTokenException"), id="invalid"),
        pytest.param(error(404, "ResourceNotFoundException"), id="no association"),
        pytest.param(error(403, "UnrecognizedClientException"), id="403"),
        pytest.param(CallFailed("https://x", "tls"), id="certificate"),
        pytest.param(Misconfigured("no proxy"), id="misconfigured"),
    ],
)
def test_what_will_not_pass_is_final(failure: HttpAnswer | Exception) -> None:
    """One call, and the error as EKS Auth said it."""

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        with pytest.raises((UpstreamAnswered, CallFailed, Misconfigured)) as caught:
            await ask(source)
        if isinstance(failure, HttpAnswer):
            found = caught.value
            assert isinstance(found, UpstreamAnswered)
            expected = (failure.status, failure.header("x-amzn-errortype"), "because", "id-1")
            assert (found.status, found.code, found.message, found.request_id) == expected

    assert len(play(scene, failure).calls) == 1


def test_the_deadline_bounds_all_attempts_together() -> None:
    """The last attempt gets what is left, and no pause leads past the end."""

    async def scene(source: EksAuth, http: FakeHttp) -> None:
        with pytest.raises(CallFailed):
            await ask(source)
        assert http.clock.monotonic() <= 6.0 + 0.05

    http = play(scene, CallFailed("https://x", "timeout"), seconds=100.0, attempts=10)
    timeouts = [bounds["timeout"] for *_, bounds in http.calls]
    assert timeouts == pytest.approx([3.0, 2.8])
    assert len(http.calls) == 2


@pytest.mark.parametrize("length", [20, 2000])
def test_an_error_that_quotes_the_token_is_not_repeated(length: int) -> None:
    """Whole or cut short, in a message or as another service's words; the code is kept."""

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        with pytest.raises(UpstreamAnswered) as caught:
            await ask(source)
        assert TOKEN[30:60] not in caught.value.message
        assert (caught.value.status, caught.value.code) == (400, "InvalidTokenException")

    play(scene, error(400, "InvalidTokenException", f"cannot read {TOKEN * (length // 20)}"))


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307])
def test_only_errors_are_handed_on_as_errors(status: int) -> None:
    """A redirect, of a captive portal perhaps, is not EKS Auth's answer: a pod must not see its status."""

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        with pytest.raises(Upstream, match=f"{status}") as caught:
            await ask(source)
        assert not isinstance(caught.value, UpstreamAnswered)

    play(scene, HttpAnswer(status, (("location", "https://elsewhere"),), b""))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"credentials":{}}'])
def test_an_answer_that_brings_nothing_is_an_upstream_that_failed(body: bytes) -> None:
    """Said without quoting it; counted as garbled, not as ok; and not asked again, for it may have issued something."""
    told: list[str] = []

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        with pytest.raises(Upstream):
            await ask(source)

    play(scene, HttpAnswer(200, (), body), told=lambda word, _seconds: told.append(word))
    assert told == ["garbled"]


def test_an_ask_without_token_or_cluster_costs_no_call() -> None:
    """And the ask's own cluster comes before the agent's."""

    async def scene(source: EksAuth, http: FakeHttp) -> None:
        with pytest.raises(BadInput):
            await ask(source, token=None)
        with pytest.raises(BadInput):
            await ask(source, token=Secret(""))
        with pytest.raises(Misconfigured) as caught:
            await ask(source)
        assert "--cluster-name" in caught.value.hint
        assert http.calls == []
        await ask(source, cluster=ClusterName.parse("two"))
        assert "/clusters/two/" in http.calls[0][1]

    play(scene, ok(), cluster=None)


@pytest.mark.parametrize(
    "endpoint", ["eks-auth.example", "ftp://x", "https://x/?a=b", "https://user:word@x/", "https://"]
)
def test_an_endpoint_that_cannot_be_called_is_refused_at_the_start(endpoint: str) -> None:
    """Not at the first pod's question."""
    with pytest.raises(Misconfigured) as caught:
        play(lambda *_: None, ok(), endpoint=endpoint)  # type: ignore[arg-type,return-value]
    assert "word" not in caught.value.message


def test_every_call_is_told_with_its_word_and_its_time() -> None:
    """Also those that another try makes up for: throttling that nobody sees gets worse."""
    told: list[tuple[str, float]] = []

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        await ask(source)

    answers = (error(429, "ThrottlingException"), CallFailed("https://x", "refused"), ok())
    play(scene, *answers, seconds=0.5, told=lambda word, seconds: told.append((word, round(seconds, 3))))
    assert told == [("ThrottlingException", 0.5), ("refused", 0.5), ("ok", 0.5)]


def test_without_a_key_nobody_was_called(tmp_path: Path) -> None:
    """A node that has no credentials is not counted as a call."""
    told: list[str] = []

    async def scene(source: EksAuth, http: FakeHttp) -> None:
        with pytest.raises(Misconfigured):
            await ask(source)
        assert http.calls == []

    none = SharedFileCredentials(tmp_path / "none")
    play(scene, ok(), credentials=none, told=lambda word, _seconds: told.append(word))
    assert told == []


@pytest.mark.parametrize(
    ("header", "found"), [("4f0a-id", "4f0a-id"), ("", ""), ("two words", ""), ("x" * 129, ""), ("a\x7f", "")]
)
def test_the_request_id_is_kept(header: str, found: str) -> None:
    """CloudTrail has the same one; what is none is left out."""

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        issued = await ask(source)
        assert issued.request_id == found

    play(scene, HttpAnswer(200, (("x-amzn-requestid", header),), ok().body))


def test_an_error_that_quotes_the_agents_own_token_is_not_repeated(tmp_path: Path) -> None:
    """What is shown to the endpoint comes back in no log; it is read from its file for every attempt."""
    own = TOKEN.replace("c2lnbmF0dXJl", "YWdlbnRzLW93bi0t")
    (tmp_path / "token").write_text(own + "\n")

    async def scene(source: EksAuth, _http: FakeHttp) -> None:
        with pytest.raises(UpstreamAnswered) as caught:
            await ask(source)
        assert "YWdlbnRz" not in caught.value.message

    failure = error(403, "UnrecognizedClientException", f"who is {own.rpartition('.')[2]}")
    http = play(scene, failure, authentication=ServiceAccountToken(tmp_path / "token"))
    assert [headers["authorization"] for _, _, headers, _, _ in http.calls] == [f"Bearer {own}"]

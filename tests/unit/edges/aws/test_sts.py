"""AssumeRole: botocore is the other side of the request, the STS API Reference's sample that of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest

from rolecall.core.exchange import Request
from rolecall.core.grant import Hop
from rolecall.core.names import RoleArn
from rolecall.core.secrets import Secret
from rolecall.core.session import SessionSpec
from rolecall.core.source import Issued
from rolecall.edges.aws import wire
from rolecall.edges.aws.attempts import Calling
from rolecall.edges.aws.node_credentials import SigningKey
from rolecall.edges.aws.sigv4 import parse_authorization
from rolecall.edges.aws.sts import AssumeRole
from rolecall.edges.http_call import CallFailed, split_url
from rolecall.edges.http_client import HttpAnswer
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream, UpstreamAnswered
from rolecall.testing.fake_clock import FakeClock

# STS API Reference, AssumeRole, Example: the sample response, with its elements as they are.
SAMPLE = b"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
  <SourceIdentity>Alice</SourceIdentity>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/demo/TestAR</Arn>
      <AssumedRoleId>ARO123EXAMPLE123:TestAR</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
      <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
      <SessionToken>AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==</SessionToken>
      <Expiration>2019-11-09T13:34:41Z</Expiration>
    </Credentials>
    <PackedPolicySize>6</PackedPolicySize>
  </AssumeRoleResult>
  <ResponseMetadata>
    <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>
  </ResponseMetadata>
</AssumeRoleResponse>"""
HOP = Hop(
    RoleArn.parse("arn:aws:iam::123456789012:role/p/demo"),
    SessionSpec("a@b=c", 3600, {"k 1": "v&1", "k2": ""}, frozenset({"k2", "k 1"}), "ext:/1", "Alice"),
)


def error(code: str, message: str = "no") -> bytes:
    """Return an error of STS (STS API Reference, Common Errors)."""
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    ).encode()


def of_botocore(**parameters: Any) -> dict[str, str]:
    """Return the form that botocore sends for AssumeRole; nothing leaves this process."""
    client = boto3.client(
        "sts",
        region_name="us-west-2",
        aws_access_key_id="A",
        aws_secret_access_key="s",
        endpoint_url="http://x.invalid",
    )
    sent: list[bytes | str] = []

    def stop(request: Any, **_: Any) -> Any:
        sent.append(request.body)
        raise InterruptedError

    client.meta.events.register("before-send.sts", stop)
    with pytest.raises(InterruptedError):
        client.assume_role(**parameters)
    return dict(parse_qsl(sent[0].decode() if isinstance(sent[0], bytes) else sent[0], keep_blank_values=True))


def test_the_form_is_botocores() -> None:
    """With all that a hop can say, and with the least."""
    assert dict(parse_qsl(wire.encode_assume_role(HOP).decode(), keep_blank_values=True)) == of_botocore(
        RoleArn=str(HOP.role),
        RoleSessionName="a@b=c",
        DurationSeconds=3600,
        Tags=[{"Key": "k 1", "Value": "v&1"}, {"Key": "k2", "Value": ""}],
        TransitiveTagKeys=["k 1", "k2"],
        ExternalId="ext:/1",
        SourceIdentity="Alice",
    )
    bare = Hop(HOP.role, SessionSpec("s1", 900))
    assert dict(parse_qsl(wire.encode_assume_role(bare).decode())) == of_botocore(
        RoleArn=str(HOP.role), RoleSessionName="s1", DurationSeconds=900
    )


class FakeHttp:
    """Answers with what it was given, in turn, and keeps the requests."""

    def __init__(self, *answers: tuple[int, bytes] | Exception) -> None:
        self.answers, self.requests = list(answers), list[Request]()

    async def call(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", **_: object
    ) -> HttpAnswer:
        """Return the next answer."""
        self.requests.append(Request(method, split_url(url)[1], tuple(headers), body))
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return HttpAnswer(found[0], (("x-amzn-requestid", "r-1"),), found[1])


class Signer:
    """The agent's own credentials."""

    def __init__(self, session: str) -> None:
        self.session = session

    async def current(self) -> SigningKey:
        """Return them."""
        return SigningKey("EXAMPLEKEY", Secret("secret"), Secret(self.session) if self.session else None)


def assume(http: FakeHttp, words: list[str] | None = None, *hops: Hop, session: str = "session") -> Issued:
    """Assume the role by these answers, in virtual time; return what was issued last."""
    clock = FakeClock()
    source = AssumeRole(
        "https://sts.us-west-2.amazonaws.com",
        region="us-west-2",
        credentials=Signer(session),
        calling=Calling(
            http=http,  # type: ignore[arg-type]
            clock=clock,
            dice=lambda: 0.5,
            told=lambda word, _: words.append(word) if words is not None else None,
        ),
        log=Log(),
    )

    async def main() -> Issued:
        for hop in hops:
            await source(hop)
        task = asyncio.ensure_future(source(HOP))
        for _ in range(50):
            await asyncio.sleep(0)
            if task.done():
                break
            await clock.advance(1.0)
        return await task

    return asyncio.run(main())


def test_the_sample_is_read() -> None:
    """The session with its account and ids; the call is signed for STS, with the agent's own token."""
    http = FakeHttp((200, SAMPLE))
    issued = assume(http)
    assert issued.assumed_role_arn == "arn:aws:sts::123456789012:assumed-role/demo/TestAR"
    assert issued.assumed_role_id == "ARO123EXAMPLE123:TestAR"
    assert issued.request_id == "c6104cbe-af31-11e0-8154-cbc7ccf896c7"
    assert (issued.credentials.access_key_id, issued.credentials.account) == ("ASIAIOSFODNN7EXAMPLE", "123456789012")
    assert issued.credentials.expires_at == 1573306481.0  # date -ud 2019-11-09T13:34:41Z +%s
    (request,) = http.requests
    signed = parse_authorization(request)
    assert signed is not None
    assert "us-west-2/sts/aws4_request" in (request.header("authorization") or "")
    assert request.header("x-amz-security-token") == "session"


@pytest.mark.parametrize(("session", "seconds", "lines"), [("session", "3600", 1), ("", "43200", 0)])
def test_whoever_is_a_session_asks_for_an_hour(
    session: str, seconds: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """More is refused in role chaining (IAM User Guide); it is said once. Keys of a user may have twelve hours."""
    http = FakeHttp(*[(200, SAMPLE)] * 4)
    long, short = (replace(HOP, session=replace(HOP.session, duration=life)) for life in (43_200, 900))
    assume(http, None, long, long, short, session=session)
    asked = [dict(parse_qsl(request.body.decode()))["DurationSeconds"] for request in http.requests]
    assert asked == [seconds, seconds, "900", "3600"]
    assert [record.message for record in caplog.records] == ["sts.shortened"] * lines


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(400, error("Throttling")), (200, SAMPLE)], ["Throttling", "ok"]),
        ([(503, b"<html>"), (200, SAMPLE)], ["UnknownError", "ok"]),
        ([CallFailed("x", "closed"), (200, SAMPLE)], ["closed", "ok"]),
    ],
    ids=["throttled", "503", "closed"],
)
def test_what_may_pass_is_tried_again(answers: list[Any], words: list[str]) -> None:
    """Each attempt is told of."""
    told: list[str] = []
    assume(FakeHttp(*answers), told)
    assert told == words


def test_a_refusal_is_final() -> None:
    """AccessDenied is STS's word, and is not asked for again."""
    http = FakeHttp((403, error("AccessDenied", "not authorized to perform: sts:AssumeRole")))
    with pytest.raises(UpstreamAnswered) as caught:
        assume(http)
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("AccessDenied", 403, "r-1")
    assert len(http.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""), (200, b"<a/>"), (200, SAMPLE.replace(b"123456789012", b"12")), (302, b""),
        (200, SAMPLE.replace(b"<SessionToken>", b"<Other>").replace(b"</SessionToken>", b"</Other>")),
        (200, SAMPLE.replace(b"2019-11-09T13:34:41Z", b"soon")), (200, b'<!DOCTYPE a [<!ENTITY x "y">]>' + SAMPLE),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_blamed_on_upstream(answer: tuple[int, bytes]) -> None:
    """And shows nothing of what came: it may hold a secret."""
    with pytest.raises(Upstream) as caught:
        assume(FakeHttp(answer, answer, answer))
    assert "EXAMPLE" not in str(caught.value)

"""What issuers of the agent's own credentials say: AWS's documented answers, and everything else refused unquoted."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qs

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import QueryParser
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.names import RoleArn
from rolecall.core.secrets import Secret
from rolecall.edges.aws import wire
from rolecall.edges.aws.node_credentials import Lease, NoNodeCredentials

ROLE = "arn:aws:iam::123456789012:role/node"
# EC2 User Guide, "Retrieve security credentials from instance metadata".
IMDS = b"""{
  "Code" : "Success",
  "LastUpdated" : "2012-04-26T16:39:16Z",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIAIOSFODNN7EXAMPLE",
  "SecretAccessKey" : "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  "Token" : "token",
  "Expiration" : "2017-05-17T15:09:54Z"
}"""
# The same of a container's provider, as AWS's agents write it.
CONTAINER = (
    b'{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",'
    b'"Token":"token","AccountId":"123456789012","Expiration":"2017-05-17T15:09:54Z"}'
)
# STS API Reference, AssumeRoleWithWebIdentity, "Sample Response".
STS = b"""\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>amzn1.account.AF6RHO7KZU5XRVQJGXK6HB56KR2A</SubjectFromWebIdentityToken>
    <Audience>client.5498841531868486423.1548@apps.example.com</Audience>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/FederatedWebIdentityRole/app1</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:app1</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>token</SessionToken>
      <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY</SecretAccessKey>
      <Expiration>2017-05-17T15:09:54Z</Expiration>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
    <SourceIdentity>SourceIdentityValue</SourceIdentity>
    <Provider>www.amazon.com</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata>
    <RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId>
  </ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>"""
ERROR = b"""\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform it</Message></Error>
  <RequestId>ad4156e9</RequestId>
</ErrorResponse>"""
EXPIRES = 1_495_033_794  # date -u -d 2017-05-17T15:09:54Z +%s


def test_the_documented_answers() -> None:
    """Key, secret, token and end."""
    for lease in (
        wire.decode_keys(IMDS, where="x"),
        wire.decode_keys(CONTAINER, where="x"),
        wire.decode_web_identity(STS, where="x"),
    ):
        assert lease.key.access_key_id == "ASIAIOSFODNN7EXAMPLE"
        assert lease.key.secret.reveal() == "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
        assert lease.key.session_token == Secret("token")
        assert lease.expires_at == EXPIRES
    assert wire.decode_sts_error(403, ERROR) == {"code": "AccessDenied", "message": "Not authorized to perform it"}


def test_botocore_reads_the_same_out_of_it() -> None:
    """The independent reader of STS's answers."""
    model = ServiceModel(Loader().load_service_model("sts", "service-2")).operation_model("AssumeRoleWithWebIdentity")
    answer = {"body": STS, "headers": {}, "status_code": 200}
    found = QueryParser().parse(answer, model.output_shape)["Credentials"]
    ours = wire.decode_web_identity(STS, where="x")
    assert (found["AccessKeyId"], found["Expiration"].timestamp()) == (ours.key.access_key_id, ours.expires_at)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2017-05-17T15:09:54.5Z", EXPIRES + 0.5),
        ("2017-05-17T15:09:54.123456789Z", EXPIRES + 0.123456),
        ("2017-05-17T17:09:54+02:00", EXPIRES),
        ("2017-05-17T15:09:54+0000", EXPIRES),
    ],
)
def test_moments(text: str, moment: float) -> None:
    """ISO 8601 with a zone, as botocore reads it too."""
    lease = wire.decode_keys(IMDS.replace(b"2017-05-17T15:09:54Z", text.encode()), where="x")
    assert lease.expires_at == pytest.approx(moment, abs=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b"{}", b"hush", b"\xff\xfe", b"[" * 100_000, IMDS[:-1], IMDS + IMDS,
        b"<html><h1>404 - Not Found</h1></html>",
        *(IMDS.replace(name, b"Other") for name in (b"AccessKeyId", b"SecretAccessKey", b'Token"', b"Expiration")),
        *(IMDS.replace(value, b'"Token" : ' + other) for value in (b'"Token" : "token"',)
          for other in (b'""', b"null", b"5", b'["hush"]', b'"hush hush"', b'"hush\\n hush"')),
        *(IMDS.replace(b"2017-05-17T15:09:54Z", moment) for moment in (
            b"", b"1495033794", b"2017-05-17", b"2017-05-17T15:09:54", b"2017-13-17T15:09:54Z", b"hush",
            b"9999-12-31T23:59:59-23:59", b"2017-05-17T25:09:54Z", b"2017-05-17T15:09:54Z ")),
    ],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
def test_what_is_not_credentials(body: bytes) -> None:
    """An error that names who said it, and quotes nothing."""
    with pytest.raises(NoNodeCredentials, match=r"^imds answered with something that is not credentials$") as caught:
        wire.decode_keys(body, where="imds")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("code", "shown"),
    [(b"AssumeRoleUnauthorizedAccess", "AssumeRoleUnauthorizedAccess"), (b"Failed", "Failed"), (b"a b", "unreadable")],
)
def test_imds_without_credentials_says_why(code: bytes, shown: str) -> None:
    """It answers 200 with a code: the code is the message."""
    with pytest.raises(NoNodeCredentials, match=f"its code is {shown}$"):
        wire.decode_keys(IMDS.replace(b'"Success"', b'"' + code + b'"'), where="imds")


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<", b"<a/>", b"{}", b"\xff", STS[:-5], STS + STS, STS[:200],
        BOMB + STS, BOMB + STS.replace(b"token", b"&b;"), b"<!DOCTYPE html>" + STS,
        b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "http://127.0.0.1/x">' + STS,
        STS.replace(b">token<", b"><![CDATA[hush]]><"), STS.replace(b">token<", b"><!-- c -->token<"),
        STS.replace(b"https://sts.amazonaws.com/doc/2011-06-15/", b"https://elsewhere/"),
        STS.replace(b"AssumeRoleWithWebIdentityResponse", b"AssumeRoleResponse"),
        STS.replace(b"Credentials", b"Other"),
        STS.replace(b"<SessionToken>token</SessionToken>", b""),
        STS.replace(b"<SessionToken>token</SessionToken>", b"<SessionToken/>"),
        STS.replace(b"<SessionToken>token</SessionToken>", b"<SessionToken>a</SessionToken>" * 2),
        STS.replace(b">token<", b"><a>hush</a><"), STS.replace(b">token<", b">hush hush<"),
        STS.replace(b"2017-05-17T15:09:54Z", b"tomorrow"),
        b'<?xml version="1.0" encoding="UTF-16"?>' + STS, b'<?xml version="1.0" encoding="utf-7"?>' + STS,
        ('<?xml version="1.0" encoding="utf-16"?>' + STS.decode()).encode("utf-16"),
        b"<a>" * 50_000, ERROR,
    ],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
def test_what_is_not_stss_answer(body: bytes) -> None:
    """Truncated, of another namespace, with declarations, entities or an encoding that STS does not use."""
    with pytest.raises(NoNodeCredentials, match=r"^sts answered with something that is not credentials$"):
        wire.decode_web_identity(body, where="sts")


@pytest.mark.parametrize(
    "body",
    [b"", b"<a/>", b"oops", BOMB + ERROR, STS, ERROR.replace(b"Code>", b"Other>"),
     ERROR.replace(b"AccessDenied", b"a b")],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
def test_an_error_that_cannot_be_read(body: bytes) -> None:
    """Its status is what is known."""
    assert wire.decode_sts_error(502, body) == {"code": "HTTP 502", "message": ""}


def test_a_long_message_is_cut_and_tells_a_terminal_nothing() -> None:
    """What comes from outside ends in a log and at a pod."""
    found = wire.decode_sts_error(400, ERROR.replace(b"Not", "\u202e\x85".encode() + b"n" * 5000))["message"]
    assert found == "n" * 498


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_nothing_else_comes_of_any_bytes(body: bytes) -> None:
    """A lease or the one error."""
    for decode in (wire.decode_keys, wire.decode_web_identity):
        with suppress(NoNodeCredentials):
            assert isinstance(decode(body, where="x"), Lease)
    wire.decode_sts_error(400, body)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=100))
def test_the_question_carries_every_token(token: str) -> None:
    """As a form reads it (STS API Reference, Request Parameters)."""
    body = wire.encode_web_identity(RoleArn.parse(ROLE), "a+b=c@d", Secret(token))
    assert parse_qs(body.decode(), keep_blank_values=True, strict_parsing=True) == {
        "Action": ["AssumeRoleWithWebIdentity"],
        "Version": ["2011-06-15"],
        "RoleArn": [ROLE],
        "RoleSessionName": ["a+b=c@d"],
        "WebIdentityToken": [token],
    }


@pytest.mark.parametrize(
    ("body", "account"),
    [
        (b'{"accountId" : "123456789012", "region" : "us-west-2"}', "123456789012"),
        (b'{"accountId" : "1234"}', None),
        (b'{"accountId" : 123456789012}', None),
        (b"{}", None),
        (b"", None),
        (b"\xff", None),
        (b"[" * 9999, None),
    ],
)
def test_the_account_of_an_identity_document(body: bytes, account: str | None) -> None:
    """EC2 User Guide, instance identity documents; whatever is none names no account."""
    assert wire.decode_identity_account(body) == account

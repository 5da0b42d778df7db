"""The shape of a token, apart from belief: RFC 7515 §7.1, and nothing else escapes."""

from __future__ import annotations

import json

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolecall.core.tokens.jws import LONGEST_TOKEN, Jws, NotAJws, NotBelieved, split
from rolecall.errors import BadToken
from unit.core.tokens.lab import LAB, b64, claims_for

REASONS = {"empty", "too-long", "not-a-jws", "bad-base64", "bad-json"}
OBJECT = st.binary(max_size=30) | st.dictionaries(st.text(max_size=3), st.none() | st.integers()).map(json.dumps).map(
    str.encode
)
ALPHABET = "abcXYZ019-_=+/. \n\x00é\ud800"

# RFC 7515 appendix A.1.1: the first JWS ever published, with white space and line ends in its JSON.
RFC_TOKEN = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)


def test_the_example_of_the_rfc() -> None:
    """Header, payload, signature and signing input are those of RFC 7515, appendix A.1.1."""
    jws = split(RFC_TOKEN)
    assert jws.header == {"typ": "JWT", "alg": "HS256"}
    assert jws.payload == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
    assert jws.signing_input == RFC_TOKEN.rpartition(".")[0].encode()
    assert jws.signature[:4] == bytes([116, 24, 223, 180])
    assert len(jws.signature) == 32


def test_it_reads_what_pyjwt_writes() -> None:
    """Header and claims survive, and PyJWT reads the same parts."""
    token = LAB.token(claims_for("agent"))
    jws = split(token)
    theirs = jwt.api_jws.PyJWS().decode_complete(token, options={"verify_signature": False})
    assert jws.payload == json.loads(theirs["payload"]) == claims_for("agent")
    assert jws.header == theirs["header"]
    assert jws.signature == theirs["signature"]


def test_it_does_not_show_itself() -> None:
    """A token is a bearer secret: its parts do not print."""
    assert repr(split(RFC_TOKEN)) == str(split(RFC_TOKEN)) == "Jws(…)"


def parted(token: str) -> Jws | NotAJws:
    """Return what comes of a text; any other error than `NotAJws` is a fault."""
    try:
        return split(token)
    except NotAJws as fault:
        return fault


@settings(max_examples=500, deadline=None)
@given(st.text(ALPHABET, max_size=40) | st.text(max_size=20))
@example("." * 30_000)
@example("e30." + "=" * 8 + ".")
def test_any_text_is_a_jws_or_is_not(text: str) -> None:
    """No text makes `split` raise anything but `NotAJws`, at step 1, with one of its five reasons."""
    found = parted(text)
    if isinstance(found, Jws):
        return
    assert isinstance(found, NotBelieved)
    assert isinstance(found, BadToken)
    assert (found.step, found.claim) == (1, "")
    assert found.reason in REASONS


@settings(max_examples=500, deadline=None)
@given(OBJECT, OBJECT, st.binary(max_size=8))
@example(b'{"alg":1' + b"0" * 6000 + b"}", b"{}", b"")
@example(b'{"a":"\xff"}', b"{}", b"")
@example(b'{"a":"\\ud800"}', b"{}", b"")
@example(b"[" * 9_000, b"{}", b"")
@example(b"{}", b"{" * 9_000, b"")
def test_any_bytes_are_json_objects_or_refused(header: bytes, payload: bytes, signature: bytes) -> None:
    """Well-formed base64 around any bytes ends in two objects or in `NotAJws` with the part at fault."""
    found = parted(f"{b64(header)}.{b64(payload)}.{b64(signature)}")
    if isinstance(found, NotAJws):
        assert found.reason == "bad-json"
        assert found.part in {"header", "payload"}
    else:
        assert found.header == json.loads(header)
        assert found.payload == json.loads(payload)
        assert found.signature == signature


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=12), st.sampled_from(["header", "payload", "signature"]), st.data())
def test_a_token_has_one_spelling(data: bytes, part: str, draw: st.DataObject) -> None:
    """Whatever text decodes at all is the text that encoding the bytes again gives."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    text = b64(data)
    text = text[:-1] + draw.draw(st.sampled_from(alphabet))
    parts = {"header": "e30", "payload": "e30", "signature": "AA"} | {part: text}
    found = parted(".".join(parts.values()))
    if isinstance(found, Jws):
        assert found.signing_input == f"{parts['header']}.{parts['payload']}".encode()
        assert b64(found.signature) == parts["signature"]


@pytest.mark.parametrize(
    ("token", "part", "at"),
    [
        pytest.param("e30=.e30.", "header", 3, id="header-padding"),
        pytest.param("e30.a+b.", "payload", 1, id="payload-plus"),
        pytest.param("e30.e30.AA/", "signature", 2, id="signature-slash"),
        pytest.param("e30.e30.AAAAA", "signature", 4, id="impossible-length"),
        pytest.param("e30.e30.AB", "signature", 1, id="unused-bits"),
        pytest.param("e30.é30.", "payload", 0, id="non-ascii"),
    ],
)
def test_where_the_fault_is(token: str, part: str, at: int) -> None:
    """The part and the offset of the fault, counted as Go's decoder counts them, for the agent's text."""
    with pytest.raises(NotAJws) as caught:
        split(token)
    assert (caught.value.reason, caught.value.part, caught.value.at) == ("bad-base64", part, at)


@pytest.mark.parametrize("longest", [LONGEST_TOKEN, 100])
def test_the_limit_is_the_last_length_that_is_read(longest: int) -> None:
    """A token of exactly the limit is read; one character more is not."""
    padding = longest - len("e30.e30.")
    padding -= padding % 4 == 1
    token = "e30.e30." + "A" * padding
    assert split(token, longest=len(token)).signature == bytes(padding * 3 // 4)
    with pytest.raises(NotAJws) as caught:
        split(token, longest=len(token) - 1)
    assert caught.value.reason == "too-long"


def test_the_limit_of_sts() -> None:
    """STS API Reference: WebIdentityToken has at most 20,000 characters."""
    assert LONGEST_TOKEN == 20_000

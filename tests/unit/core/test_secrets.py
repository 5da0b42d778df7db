"""A secret does not print, whoever asks: design §4 rule 5."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret

TEXT = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclasses.dataclass
class Holder:
    """Something that has a secret in it."""

    secret: Secret


def logged(secret: Secret) -> str:
    """Return what a logger with a plain format writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)r"))
    logger = logging.Logger("test")  # noqa: LOG001 - one of its own, so that no other handler hears it
    logger.addHandler(handler)
    logger.info("%s %r", secret, [secret], extra={"extra": {"secret": secret}})
    return stream.getvalue()


def raised(secret: Secret) -> str:
    """Return the traceback of an error that was given the secret."""
    try:
        raise ValueError(secret, Holder(secret))
    except ValueError:
        return traceback.format_exc()


SHOWN: dict[str, Callable[[Secret], str]] = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "format": lambda secret: format(secret, "") + format(secret, ">60") + format(secret, ".3"),
    "f-string": lambda secret: f"{secret} {secret!r} {secret!s} {secret!a} {secret:^60}",
    "percent": lambda secret: "%s %r %a" % (secret, secret, secret),  # noqa: UP031
    "str-format": "{0} {0!r}".format,
    "join": lambda secret: ", ".join(map(str, [secret])),
    "list": lambda secret: str([secret]) + str({secret: secret}),
    "dataclass": lambda secret: repr(Holder(secret)),
    "pprint": lambda secret: pprint.pformat({"secret": [secret, Holder(secret)]}),
    "json-default": lambda secret: json.dumps({"secret": secret}, default=str),
    "msgspec-hook": lambda secret: msgspec.json.encode({"s": secret}, enc_hook=str).decode(),
    "asdict": lambda secret: repr(dataclasses.asdict(Holder(secret))),
    "exception": lambda secret: repr(ValueError(secret)) + str(ValueError(secret)),
    "traceback": raised,
    "logging": logged,
    "dir": lambda secret: repr([getattr(secret, name, None) for name in dir(secret) if name.startswith("__")]),
}


@pytest.mark.parametrize("how", SHOWN)
def test_it_does_not_print(how: str) -> None:
    """No way of making text of it shows any of it."""
    shown = SHOWN[how](Secret(TEXT))
    assert shown
    assert not any(TEXT[at : at + 6] in shown for at in range(len(TEXT) - 5))


TAKEN_OUT: dict[str, Callable[[Secret], object]] = {
    "json": json.dumps,
    "json-list": lambda secret: json.dumps([secret]),
    "msgspec-json": msgspec.json.encode,
    "msgspec-msgpack": msgspec.msgpack.encode,
    "msgspec-builtins": msgspec.to_builtins,
    "msgspec-dataclass": lambda secret: msgspec.json.encode(Holder(secret)),
    "pickle": pickle.dumps,
    "pickle-oldest": lambda secret: pickle.dumps(secret, protocol=0),
    "pickle-inside": lambda secret: pickle.dumps(Holder(secret)),
    "getstate": lambda secret: secret.__getstate__(),
    "vars": vars,
    "bytes": bytes,
    "iter": iter,
    "len": len,
    "index": lambda secret: secret[0],  # type: ignore[index]
    "concatenate": lambda secret: "Bearer " + secret,  # type: ignore[operator]
    "in": lambda secret: "w" in secret,  # type: ignore[operator]
    "less-than": lambda secret: secret < Secret("z"),  # type: ignore[operator]
}


@pytest.mark.parametrize("how", TAKEN_OUT)
def test_it_is_not_written_out(how: str) -> None:
    """What would have to read it fails, with an error that does not show it."""
    with pytest.raises(TypeError) as caught:
        TAKEN_OUT[how](Secret(TEXT))
    assert TEXT not in str(caught.value)


def test_copies_are_the_same_secret() -> None:
    """Copying what holds it copies no secret around."""
    secret = Secret(TEXT)
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    assert copy.deepcopy(Holder(secret)).secret is secret


@given(st.text(st.characters()))
def test_reveal_and_digest(text: str) -> None:
    """`reveal` gives back any text, lone surrogates too; `digest` is SHA-256 and gives nothing back."""
    secret = Secret(text)
    assert secret.reveal() == text
    assert secret.reveal_bytes() == text.encode("utf-8", "surrogatepass")
    assert secret.digest() == hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    assert bool(secret) is bool(text)


@given(st.text(st.characters()), st.binary(max_size=5), st.binary(max_size=5))
def test_a_part_of_something_is_a_secret_like_any_other(text: str, before: bytes, after: bytes) -> None:
    """It opens to the part alone, and is equal to a secret of the same text."""
    part = text.encode("utf-8", "surrogatepass")
    secret = Secret.within(before + part + after, len(before), len(before) + len(part))
    assert (secret.reveal(), secret.reveal_bytes(), bool(secret)) == (text, part, bool(text))
    assert secret == Secret(text)
    assert secret.digest() == Secret(text).digest()


def test_what_is_held_is_not_held_twice() -> None:
    """Opening a whole secret to its bytes copies nothing."""
    secret = Secret(TEXT)
    assert secret.reveal_bytes() is secret.reveal_bytes()


@given(st.text(max_size=3), st.text(max_size=3))
def test_equality_is_that_of_the_texts(one: str, other: str) -> None:
    """Equal secrets are equal keys; a plain text is never equal to a secret."""
    assert (Secret(one) == Secret(other)) is (one == other)
    assert len({Secret(one), Secret(other)}) == len({one, other})
    assert Secret(one) != one


def test_it_cannot_be_changed_from_outside() -> None:
    """There is no attribute to read or to set."""
    secret = Secret(TEXT)
    with pytest.raises(AttributeError):
        secret.value = "x"  # type: ignore[attr-defined]
    assert [name for name in dir(secret) if not name.startswith("_")] == ["digest", "reveal", "reveal_bytes", "within"]


def test_credentials_do_not_print() -> None:
    """Credentials show the access key's id, which is no secret, and neither of the others."""
    credentials = Credentials("ASIAEXAMPLE", Secret(TEXT), Secret("token" + TEXT), 100.0, AccountId("123456789012"))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print(credentials, [credentials])
    assert "ASIAEXAMPLE" in out.getvalue()
    assert TEXT not in out.getvalue()

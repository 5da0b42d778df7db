"""Key sets: what is published and what of it counts, judged by PyJWT, OpenSSL's numbers and STS as measured."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.core.tokens.jws import NotBelieved
from rolecall.core.tokens.keys import LONGEST_JWKS, Keyset, kid_for, parse_jwks, to_jwk
from rolecall.errors import BadInput
from unit.core.tokens.lab import LAB, b64

ALGORITHMS = {"rsa": "RS256", "p256": "ES256", "p384": "ES384", "p521": "ES512"}
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}

# RFC 7515 appendix A.2 (RSA) and A.3 (EC): published numbers of published keys.
RFC_RSA = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR"
    "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB"
    "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia"
    "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
)
RFC_EC = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")


def keyset(*entries: Any) -> Keyset:
    """Return what is usable of a key set."""
    return parse_jwks(json.dumps({"keys": entries}).encode())


def numbers(key: Any) -> Any:
    """Return a public key's numbers, which compare."""
    return key.public_numbers()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_jwk_goes_round(name: str) -> None:
    """What we write, PyJWT reads as the same key; what PyJWT writes, we read as the same key."""
    public = LAB.public(name)
    ours = to_jwk(public, kid=name, alg=ALGORITHMS[name])
    assert numbers(jwt.PyJWK(ours).key) == numbers(public)
    theirs = LAB.jwk(name)
    assert {**ours, "alg": None} == {**theirs, "alg": None}
    assert numbers(keyset(theirs).choose(name)) == numbers(public)
    assert numbers(keyset(ours).choose(name)) == numbers(public)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CURVES)), st.integers(1, 2**250))
def test_any_ec_key_goes_round(curve: str, secret: int) -> None:
    """Coordinates keep their leading zeros (RFC 7518 §6.2.1.2), whatever the key."""
    public = ec.derive_private_key(secret, CURVES[curve]).public_key()
    written = to_jwk(public, kid="k", alg="")
    assert {len(written[name]) for name in "xy"} == {{"P-256": 43, "P-384": 64, "P-521": 88}[curve]}
    assert numbers(keyset(written).choose("k")) == numbers(public)
    assert numbers(jwt.algorithms.ECAlgorithm.from_jwk(json.dumps(written))) == numbers(public)


def test_published_numbers() -> None:
    """The keys of RFC 7515, appendices A.2 and A.3, are read and written as printed there."""
    rsa_key = keyset({"kty": "RSA", "kid": "a2", "n": RFC_RSA, "e": "AQAB"}).choose("a2")
    assert isinstance(rsa_key, rsa.RSAPublicKey)
    assert (rsa_key.key_size, rsa_key.public_numbers().e) == (2048, 65537)
    ec_key = keyset({"kty": "EC", "crv": "P-256", "kid": "a3", "x": RFC_EC[0], "y": RFC_EC[1]}).choose("a3")
    assert isinstance(ec_key, ec.EllipticCurvePublicKey)
    wanted = {"kty": "RSA", "n": RFC_RSA, "e": "AQAB", "kid": "k", "use": "sig", "alg": "RS256"}
    assert to_jwk(rsa_key, kid="k", alg="RS256") == wanted
    assert to_jwk(ec_key, kid="k", alg="ES256") == {
        "kty": "EC",
        "crv": "P-256",
        "x": RFC_EC[0],
        "y": RFC_EC[1],
        "kid": "k",
        "use": "sig",
        "alg": "ES256",
    }


def test_kid_is_that_of_kubernetes() -> None:
    """base64url, unpadded, of SHA-256 over the DER of SubjectPublicKeyInfo (landscape.md §1.2)."""
    der = LAB.public("rsa").public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    expected = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
    assert kid_for(LAB.public("rsa")) == expected
    assert len(expected) == 43


def certificate(name: str, signer: str = "") -> str:
    """Return a self-made certificate for a key, as the first entry of ``x5c``."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(subject, subject, serial_number=7)
        .public_key(LAB.public(name))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(LAB.private[signer or name], hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


GOOD = {
    "plain": {},
    "no-use": {"use": ...},
    "no-alg": {"alg": ...},
    "other-alg": {"alg": "RS512"},
    "unknown-member": {"x": 1, "ext": True},
}


@pytest.mark.parametrize("case", GOOD)
def test_usable(case: str) -> None:
    """What STS takes: `alg` does not matter, `use` may be left out."""
    entry = {key: value for key, value in (LAB.jwk("rsa", alg="RS256") | GOOD[case]).items() if value is not ...}
    assert set(keyset(entry).keys) == {"rsa"}


WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
EDWARDS = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
LONG_X = b64(b"\0" + LAB.public("p256").public_numbers().x.to_bytes(32, "big"))
OFF_CURVE = {**LAB.jwk("p256"), "y": LAB.jwk("p256")["x"]}
BAD: dict[str, dict[str, Any]] = {
    "no-kid": {"kid": ...},
    "empty-kid": {"kid": ""},
    "kid-number": {"kid": 1},
    "use-enc": {"use": "enc"},
    "use-null": {"use": None},
    "key-ops-verify": {"key_ops": ["verify"]},
    "key-ops-sign": {"key_ops": ["sign"]},
    "key-ops-empty": {"key_ops": []},
    "no-n": {"n": ...},
    "no-e": {"e": ...},
    "n-number": {"n": 7},
    "n-padded": {"n": RFC_RSA + "=="},
    "n-standard-alphabet": {"n": RFC_RSA.replace("-", "+")},
    "n-one-left-over": {"n": "A" * 345},
    "n-empty": {"n": ""},
    "n-too-long": {"n": "_" * 1367},
    "n-1024-bits": {"n": to_jwk(WEAK, kid="", alg="")["n"]},
    "e-even": {"e": "AQAA"},
    "e-one": {"e": "AQ"},
    "e-huge": {"e": "_" * 12},
    "kty-symmetric": {"kty": "oct", "k": "AAAA"},
    "kty-lower-case": {"kty": "rsa"},
    "kty-list": {"kty": ["RSA"]},
    "ed25519": {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(EDWARDS).decode().rstrip("=")},
    "x5c-only": {"n": ..., "e": ..., "x5c": [certificate("rsa")]},
    "x5c-of-another-key": {"x5c": [certificate("foreign")]},
    "x5c-empty": {"x5c": []},
    "x5c-text": {"x5c": certificate("rsa")},
    "x5c-null": {"x5c": None},
    "x5c-garbage": {"x5c": ["AAAA"]},
    "x5c-of-an-ec-key": {"x5c": [certificate("p256")]},
}


@pytest.mark.parametrize("case", BAD)
def test_unusable(case: str) -> None:
    """What STS does not take, and what is no key, is left out; the other keys stay."""
    entry = {key: value for key, value in (LAB.jwk("rsa") | BAD[case]).items() if value is not ...}
    assert set(keyset(entry, LAB.jwk("p256")).keys) == {"p256"}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(OFF_CURVE, id="off-curve"),
        pytest.param({**LAB.jwk("p256"), "crv": "P-384"}, id="other-curve"),
        pytest.param({**LAB.jwk("p256"), "crv": "secp256k1"}, id="unknown-curve"),
        pytest.param({**LAB.jwk("p256"), "crv": ["P-256"]}, id="curve-list"),
        pytest.param({**LAB.jwk("p256"), "x": LONG_X}, id="long-coordinate"),
        pytest.param({**LAB.jwk("p256"), "x": LAB.jwk("p256")["x"][:-3]}, id="short-coordinate"),
        pytest.param({**LAB.jwk("p256"), "x": "A" * 43, "y": "A" * 43}, id="origin"),
        pytest.param("p256", id="text"),
        pytest.param(None, id="null"),
    ],
)
def test_unusable_ec(entry: Any) -> None:
    """A point that is not on its curve, or in another width, is no key."""
    assert dict(keyset(entry).keys) == {}


def test_a_certificate_that_agrees() -> None:
    """`x5c` beside the same `n` and `e` is taken, whoever signed it: the key set is what is trusted."""
    assert set(keyset({**LAB.jwk("rsa"), "x5c": [certificate("rsa", signer="foreign")]}).keys) == {"rsa"}


def test_a_certificate_of_an_unknown_kind() -> None:
    """A certificate over a curve that nobody implements makes its key unusable and harms no other."""
    der = bytearray(base64.b64decode(certificate("p256")))
    curve = bytes.fromhex("06082a8648ce3d030107")  # the object identifier of P-256
    at = der.index(curve)
    der[at : at + len(curve)] = bytes.fromhex("06082a8648ce3d030177")
    bad = {**LAB.jwk("p256"), "x5c": [base64.b64encode(bytes(der)).decode()]}
    assert set(keyset(bad, LAB.jwk("rsa")).keys) == {"rsa"}


@pytest.mark.parametrize("order", [("rsa", "foreign"), ("foreign", "rsa"), ("rsa", "p256"), ("p256", "rsa")])
def test_a_later_key_replaces_an_earlier_one(order: tuple[str, str]) -> None:
    """Of two keys of one id the later counts (measured on STS), also where their types differ."""
    found = keyset(*(LAB.jwk(name, kid="same") for name in order))
    assert numbers(found.choose("same")) == numbers(LAB.public(order[1]))


def test_more_than_a_hundred_keys() -> None:
    """101 RSA keys and no RSA token verifies, while EC tokens do (measured on STS)."""
    many = [LAB.jwk("rsa", kid=f"k{number}") for number in range(101)]
    assert set(keyset(*many, LAB.jwk("p256")).keys) == {"p256"}
    assert len(keyset(*many[:100], LAB.jwk("p256")).keys) == 101


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"{}", id="no-keys"),
        pytest.param(b'{"keys":{}}', id="keys-object"),
        pytest.param(b'{"keys":null}', id="keys-null"),
        pytest.param(b'{"keys":["\xff"]}', id="not-utf8"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"keys":[]}' + b" " * LONGEST_JWKS, id="too-large"),
    ],
)
def test_no_key_set(text: bytes) -> None:
    """A document that is no key set is refused, not read as an empty one."""
    with pytest.raises(BadInput, match="key set"):
        parse_jwks(text)


def test_choice_without_an_id() -> None:
    """Without an id, or with an empty one, the only key; among two, none (measured on STS)."""
    one, two = keyset(LAB.jwk("rsa")), keyset(LAB.jwk("rsa"), LAB.jwk("p256"))
    assert numbers(one.choose(None)) == numbers(one.choose("")) == numbers(LAB.public("rsa"))
    for keys, kid in ((two, None), (two, ""), (one, "p256"), (Keyset({}), None)):
        with pytest.raises(NotBelieved) as caught:
            keys.choose(kid)
        assert (caught.value.step, caught.value.reason) == (3, "unknown-key")


def test_a_long_id_is_not_repeated_whole() -> None:
    """The error shows the beginning of the key's id, escaped: it comes from a stranger."""
    with pytest.raises(NotBelieved) as caught:
        keyset(LAB.jwk("rsa")).choose("\x1b[31m" + "k" * 5000)
    assert len(caught.value.message) < 250
    assert "\x1b" not in caught.value.message

"""Runs every case of tests/corpus/tokens (one file is one case), and what no single case can say.

A case describes a token, the door it is brought to, and what must come of it. PyJWT judges the same
token where it knows the rule; where it differs from STS or from the door, the case says so in `pyjwt`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.core.tokens.claims import CLASSES, FLAT_TAG, VerifiedClaims, class_of
from rolecall.core.tokens.jws import NotBelieved
from rolecall.core.tokens.verify import STS_ALGORITHMS, DoorRules, verify
from unit.core.tokens.lab import ISSUER, LAB, NOW, PUBLISHED, claims_for

CORPUS = Path(__file__).parents[3] / "corpus" / "tokens"
CASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(CORPUS.glob("*.json"))}
LAB_KEYS = LAB.keyset()
ACCEPTED = [name for name, case in CASES.items() if "accept" in case]
REFUSED = [name for name, case in CASES.items() if "refuse" in case]

CLIENTS = frozenset({"client-a", "client-b"})
AGENT = DoorRules(
    algorithms=STS_ALGORITHMS,
    leeway=0.0,
    issuer=ISSUER,
    audiences=frozenset({"pods.eks.amazonaws.com"}),
    require_kubernetes=True,
    require_pod=True,
)
DOORS = {
    "agent": AGENT,
    "sts": DoorRules(
        algorithms=STS_ALGORITHMS, leeway=300.0, issuer=ISSUER, audiences=CLIENTS, require_kubernetes=False
    ),
    "node-1": DoorRules(
        algorithms=STS_ALGORITHMS,
        leeway=0.0,
        issuer=ISSUER,
        audiences=AGENT.audiences,
        require_kubernetes=False,
        node="node-1",
    ),
}


class Then(datetime):
    """PyJWT's clock, stopped at NOW."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return the moment of the corpus."""
        return cls.fromtimestamp(NOW, tz or UTC)


def believed_by_pyjwt(token: str, case: dict[str, Any]) -> bool:
    """Say whether PyJWT takes the token, with the same keys, algorithms, issuer, audiences and leeway."""
    rules, published = DOORS[case["door"]], case.get("published", PUBLISHED)
    keys = {name: LAB.public(name) for name in published}
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = next(iter(keys.values())) if not kid and len(keys) == 1 else keys[kid]
        jwt.decode(
            token,
            key,
            algorithms=sorted(STS_ALGORITHMS),
            audience=sorted(rules.audiences),
            issuer=ISSUER,
            leeway=rules.leeway,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError):
        return False
    return True


def plain(value: Any) -> Any:
    """Return what JSON can say of a claim."""
    if isinstance(value, tuple):
        return list(value)
    return {key: plain(one) for key, one in asdict(value).items()} if is_dataclass(value) else value


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    """The token is believed, and its claims are what the case says."""
    case = CASES[name]
    keys = LAB.keyset(case.get("published", PUBLISHED))
    claims = verify(LAB.build(case), keys=keys, rules=DOORS[case["door"]], now=NOW)
    found = {field: getattr(claims, field) for field in case["accept"]}
    assert {field: plain(value) for field, value in found.items()} == case["accept"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """The token is refused at the step, for the reason and the claim that the case says."""
    case = CASES[name]
    keys = LAB.keyset(case.get("published", PUBLISHED))
    with pytest.raises(NotBelieved) as caught:
        verify(LAB.build(case), keys=keys, rules=DOORS[case["door"]], now=NOW)
    fault = caught.value
    assert {"step": fault.step, "reason": fault.reason, "claim": fault.claim} == case["refuse"]
    assert fault.message


def beyond_pyjwt(case: dict[str, Any]) -> bool:
    """Say whether a case is about claims that PyJWT has no rule for."""
    return "refuse" in case and case["refuse"]["step"] >= 8


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not beyond_pyjwt(case)])
def test_pyjwt_agrees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An independent verifier says the same, but where the case says why it does not."""
    case = CASES[name]
    monkeypatch.setattr("jwt.api_jwt.datetime", Then)
    expected = case["pyjwt"].startswith("accepts: ") if "pyjwt" in case else "accept" in case
    assert believed_by_pyjwt(LAB.build(case), case) is expected


def test_the_corpus_is_whole() -> None:
    """Every case rests on something, has a name of its own, and every reason word that `verify` knows is there."""
    reasons = {case["refuse"]["reason"] for case in CASES.values() if "refuse" in case}
    assert reasons == {
        *("empty", "too-long", "not-a-jws", "bad-base64", "bad-json", "bad-header"),
        *("unsigned", "bad-algorithm", "unknown-key", "bad-signature", "wrong-issuer"),
        *("wrong-audience", "many-audiences-no-azp", "expired", "not-yet-valid"),
        *("missing-claim", "bad-claim", "not-kubernetes", "no-pod", "wrong-node"),
    }
    assert all(case["description"] and case["reason"] for case in CASES.values())
    assert all(("accept" in case) is not ("refuse" in case) for case in CASES.values())
    assert len(CASES) > 200


@pytest.mark.parametrize("key", ["rsa", "p256", "p521"])
def test_no_flipped_bit_is_believed(key: str) -> None:
    """Whatever single bit of a good token is turned over, in its text, the token is refused."""
    algorithm = {"rsa": "RS256", "p256": "ES256", "p521": "ES512"}[key]
    token = LAB.token(claims_for("agent"), algorithm=algorithm, key=key)
    keys = LAB.keyset()
    assert verify(token, keys=keys, rules=AGENT, now=NOW).subject == "system:serviceaccount:demo-ns:demo-sa"
    believed = []
    for at, letter in enumerate(token):
        for bit in range(8):
            flipped = token[:at] + chr(ord(letter) ^ (1 << bit)) + token[at + 1 :]
            try:
                verify(flipped, keys=keys, rules=AGENT, now=NOW)
            except NotBelieved:
                continue
            believed.append((at, bit))
    assert believed == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*CLASSES, f"{FLAT_TAG}Team"])


def outcome(token: str, door: str, now: float = NOW) -> VerifiedClaims | NotBelieved:
    """Return what comes of a token; any other error than `NotBelieved` is a fault."""
    try:
        return verify(token, keys=LAB_KEYS, rules=DOORS[door], now=now)
    except NotBelieved as fault:
        return fault


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=4), st.sampled_from(sorted(DOORS)))
def test_any_claims_are_believed_or_not_believed(changes: dict[str, Any], door: str) -> None:
    """A signed token with claims of any shape ends in claims or in `NotBelieved`, never in another error."""
    token = LAB.build({"door": door, "claims": changes, "key": "p256", "header": {"alg": "ES256"}})
    found = outcome(token, door)
    if isinstance(found, NotBelieved):
        assert 5 <= found.step <= 9
        assert found.claim
    else:
        assert found.issuer == ISSUER
        assert found.audience in DOORS[door].audiences
        assert found.expires_at + DOORS[door].leeway > NOW
        assert door == "sts" or found.kubernetes is not None


EDGE = st.integers(-302, -298) | st.integers(-2, 2) | st.integers(298, 302)


@settings(max_examples=300, deadline=None)
@given(exp=EDGE, nbf=EDGE, iat=EDGE, door=st.sampled_from(["agent", "sts"]))
def test_times_around_the_edges(exp: int, nbf: int, iat: int, door: str) -> None:
    """exp lies after, nbf and iat not after the clock, give or take the door's leeway (RFC 7519 §4.1.4-4.1.6)."""
    leeway = {"agent": 0, "sts": 300}[door]
    times = {"exp": NOW + exp, "nbf": NOW + nbf, "iat": NOW + iat}
    found = outcome(LAB.token(claims_for(door) | times, algorithm="ES256", key="p256"), door)
    early = nbf > leeway or iat > leeway
    expected = "expired" if exp <= -leeway else "not-yet-valid" if early else ""
    assert (found.reason if isinstance(found, NotBelieved) else "") == expected


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        pytest.param(
            {"exp": NOW - 301},
            f"Token expired: current date/time {NOW - 300} must be before the expiration date/time {NOW - 301}",
            id="expired",
        ),
        pytest.param(
            {"nbf": NOW + 3600},
            f"Token not yet valid: current date/time {NOW + 300} must be after or equal to "
            f"the not-before date/time {NOW + 3600}",
            id="not-yet-valid",
        ),
        pytest.param({"iat": NOW + 3600}, f"Token issued in the future: {NOW + 3600}", id="issued-in-the-future"),
    ],
)
def test_sts_sentences_about_time(claims: dict[str, Any], sentence: str) -> None:
    """The sentences that STS was measured to answer, its clock moved by the five minutes in our favour."""
    with pytest.raises(NotBelieved, match="Token") as caught:
        verify(LAB.token(claims_for("sts") | claims), keys=LAB.keyset(), rules=DOORS["sts"], now=NOW)
    assert caught.value.message == sentence


def test_required_claims_are_those_of_the_table() -> None:
    """What `CLASSES` calls required is refused when it is missing, and nothing else is."""
    faults = {}
    for name in CLASSES:
        claims = {key: value for key, value in claims_for("sts").items() if key != name}
        found = outcome(LAB.token(claims), "sts")
        if isinstance(found, NotBelieved):
            faults[name] = (found.reason, found.claim)
    required = {name for name in CLASSES if class_of(name) == "required"}
    assert required == {"iss", "sub", "aud", "exp", "iat"}
    assert faults == {name: ("missing-claim", name) for name in required}


@pytest.mark.parametrize("algorithm", ["none", "HS256", "PS256", "EdDSA"])
def test_no_door_can_accept_other_algorithms(algorithm: str) -> None:
    """A door that would take unsigned, HMAC or unknown algorithms cannot be described."""
    with pytest.raises(ValueError, match=algorithm):
        DoorRules(
            algorithms=STS_ALGORITHMS | {algorithm},
            leeway=0.0,
            issuer=ISSUER,
            audiences=CLIENTS,
            require_kubernetes=False,
        )


def test_a_refusal_never_repeats_the_token() -> None:
    """No sentence holds the signature or the payload: messages are shown and logged."""
    for name in REFUSED:
        case = CASES[name]
        token = LAB.build(case)
        with pytest.raises(NotBelieved) as caught:
            verify(token, keys=LAB.keyset(case.get("published", PUBLISHED)), rules=DOORS[case["door"]], now=NOW)
        shown = f"{caught.value!r} {caught.value} {caught.value.hint}"
        assert all(part not in shown for part in token.split(".") if len(part) > 16)

"""Runs every case of tests/corpus/policies: one file is one case.

A case holds `policies` (identity policies), or `trust` (a trust policy), or a `document` or `text` with
a `kind`, which must be refused. Expected values come from AWS's documentation or were measured on AWS;
`reason` says which.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.document import parse_policy
from rolecall.core.policy.evaluate import AccessRequest, NamedPolicy, NearMiss, Outcome, evaluate
from rolecall.core.policy.match import Requester
from rolecall.core.policy.operators import NOT_YET, OPERATORS
from rolecall.core.policy.trust import TrustOutcome, trust_verdict
from rolecall.errors import BadPolicy

FILES = sorted((Path(__file__).parents[3] / "corpus" / "policies").glob("*.json"))
CASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}


def names(*, refused: bool) -> list[str]:
    """Return the cases that must be refused, or the ones that are evaluated."""
    return [name for name, case in CASES.items() if (case["verdict"] == "refused") is refused]


def context(case: dict[str, Any]) -> RequestContext:
    """Return the request's context: a list in the case is a multi-valued key."""
    given = case["request"]["context"]
    return RequestContext.of(
        {key: value for key, value in given.items() if isinstance(value, str)},
        {key: value for key, value in given.items() if isinstance(value, list)},
    )


def judge(case: dict[str, Any]) -> Outcome | TrustOutcome:
    """Evaluate a case as its file says."""
    request = case["request"]
    requester = Requester(**request["principal"])
    if "trust" in case:
        trust = parse_policy(json.dumps(case["trust"]), "trust")
        return trust_verdict(trust, request["action"], requester, context(case))
    policies = [
        NamedPolicy(policy["name"], parse_policy(json.dumps(policy["document"]), "identity"))
        for policy in case["policies"]
    ]
    return evaluate(policies, AccessRequest(request["action"], request["resource"], requester, context(case)))


def shown(miss: NearMiss, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what a near miss says about the things that the case asks for."""
    return {key: list(value) if isinstance(value := getattr(miss, key), tuple) else value for key in wanted}


@pytest.mark.parametrize("name", names(refused=False))
def test_verdict(name: str) -> None:
    """The verdict, the deciding statements and, where the case has them, delegation and near misses."""
    case = CASES[name]
    outcome = judge(case)
    assert outcome.verdict.value == case["verdict"]
    assert list(outcome.deciding) == case["deciding"]
    if "delegated" in case:
        assert isinstance(outcome, TrustOutcome)
        assert outcome.delegated is case["delegated"]
    if "near" in case:
        assert len(outcome.near) == len(case["near"])
        assert [shown(miss, want) for miss, want in zip(outcome.near, case["near"], strict=True)] == case["near"]


@pytest.mark.parametrize("name", names(refused=True))
def test_refusal(name: str) -> None:
    """A document that cannot be read is refused with the path and the cause."""
    case = CASES[name]
    text = case["text"] if "text" in case else json.dumps(case["document"])
    with pytest.raises(BadPolicy) as caught:
        parse_policy(text, case["kind"])
    assert caught.value.path == case["path"]
    assert case["says"] in caught.value.message


def test_the_corpus_knows_every_operator() -> None:
    """A row of the operator table without a case is a hole in the corpus."""
    text = json.dumps(CASES)
    assert [name for name in (*OPERATORS, *NOT_YET) if f'"{name}"' not in text] == []


def test_every_case_says_what_it_rests_on() -> None:
    """No expected value without a source."""
    assert len(CASES) > 60
    assert all(case["description"] and case["reason"] for case in CASES.values())

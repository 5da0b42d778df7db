"""Pods, one file a case (tests/corpus/pods): what is added, which words say so, and what kubectl shows.

Expected pods were written from AWS's documentation and the description of its webhook, not from our output. Patches
are applied by an RFC 6902 of the test's own.
"""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from json_patch import applied
from rolecall.core.names import AccountId, Partition, Region
from rolecall.daemons.webhook import review
from rolecall.daemons.webhook.rules import ConfigEntry, Facts, Rules

CASES = sorted((Path(__file__).parents[3] / "corpus" / "pods").glob("*.json"))


def rules_of(given: dict[str, Any]) -> Rules:
    """Return the rules that a case sets."""
    given = dict(given)
    if "region" in given:
        given["region"] = Region.parse(given["region"])
    if "bare_roles" in given:
        given["bare_roles"] = (Partition(given["bare_roles"][0]), AccountId(given["bare_roles"][1]))
    return Rules(**given)


def body(pod: Any, version: str = "v1", **request: Any) -> bytes:
    """Return an AdmissionReview for the creation of a pod."""
    asked = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "shop",
        "object": pod,
        "oldObject": None,
        "dryRun": False,
    }
    return json.dumps(
        {"apiVersion": f"admission.k8s.io/{version}", "kind": "AdmissionReview", "request": asked | request}
    ).encode()


def response(pod: Any, facts: Facts, rules: Rules, dice: float = 0.0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the response and its patch, both decoded."""
    found = review.answer(review.read(body(pod)), facts, rules, lambda: dice)
    answer = json.loads(found.body)["response"]
    assert found.patched is ("patch" in answer)
    return answer, json.loads(base64.b64decode(answer["patch"])) if "patch" in answer else []


def facts_of(case: dict[str, Any]) -> Facts:
    """Return the facts of a case."""
    entry = ConfigEntry(**case["entry"]) if "entry" in case else None
    return Facts(case["account"], case["association"], entry)


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_case(path: Path) -> None:
    """The pod, the words, and the same again: applying twice is applying once."""
    case = json.loads(path.read_text())
    expected, pod, facts, dice = case["expected"], case["pod"], facts_of(case), case.get("dice", 0.0)
    rules = rules_of(case.get("rules", {}))
    answer, operations = response(pod, facts, rules, dice)
    said = answer["auditAnnotations"]
    assert answer["allowed"] is expected["allowed"]
    assert said["reason"] == expected["reason"]
    assert [note for note in said.get("notes", "").split(",") if note] == expected["notes"]
    assert [text.split(":")[1].strip() for text in answer.get("warnings", [])] == expected["warns"]
    assert all(len(text) <= 256 for text in answer.get("warnings", []))
    mutated = applied(pod, operations)
    assert mutated == (expected["pod"] or pod)
    again, more = response(mutated, facts, rules, dice)
    assert not more
    assert again["allowed"] is expected["allowed"]
    strict = rules_of(case.get("rules", {}) | {"strict": True})
    whole = applied(pod, response(pod, facts, strict, dice)[1])
    assert unfilled(whole) == unfilled(mutated)


def unfilled(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a pod without what Go writes for fields of containers that are not set."""
    pod = copy.deepcopy(pod)
    for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]:
        if not container.get("resources"):
            container.pop("resources", None)
        for name in ("livenessProbe", "readinessProbe", "startupProbe"):
            grpc = (container.get(name) or {}).get("grpc") or {}
            if grpc.get("service") is None:
                grpc.pop("service", None)
    return pod


def test_there_are_cases() -> None:
    """The corpus is there."""
    assert len(CASES) >= 60

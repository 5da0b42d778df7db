"""What AWS's webhook itself answered about the pods of our corpus (tests/corpus/aws-webhook/answers.json): so do we.

Strict patches are the same, operation by operation, but for the differences that are listed here with their reason,
as docs/reference/webhook.md has them; each of these must differ indeed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from unit.daemons.webhook.test_pods_corpus import facts_of, response, rules_of

CORPUS = Path(__file__).parents[3] / "corpus"
ANSWERS: dict[str, Any] = json.loads((CORPUS / "aws-webhook" / "answers.json").read_text())
_OURS = "a setting of ours that it does not have"
_AUDIENCE = "it would make a token for the Kubernetes API"
_AGENT = "it knows Windows by a nodeSelector alone, and no agent serves Windows or Fargate"
_VOLUME = "another volume by the token's name: it injects half"
_PROXY = "it leaves the agent's address to the proxy"
_AGAIN = "it writes again what is there already"
_LABEL = "it leaves the label to the selector of its registration"
DIFFERENT = {
    "audience-blank": _AUDIENCE,
    "audience-empty": _AUDIENCE,
    "expiration-maximum": "it passes on more than a day",
    "fargate-by-scheduler": _AGENT,
    "fargate-falls-back": _AGENT,
    "fs-group": _OURS,
    "fs-group-beside-others": _OURS,
    "include-and-skip": _OURS,
    "include-containers": _OURS,
    "label-present": "it writes over a label that is there",
    "mount-path-taken": "its second mount makes the pod invalid",
    "proxy": _PROXY,
    "proxy-with-exceptions": _PROXY,
    "reinvoked-irsa": _AGAIN,
    "reinvoked-pod-identity": _AGAIN,
    "region-annotation": _OURS,
    "region-annotation-of-pod": _OURS,
    "required-bad-role": _OURS,
    "required-half-set": _OURS,
    "required-neither": _OURS,
    "role-arn-with-newline": "it passes on the newline",
    "session-name": _OURS,
    "skip-all": "it adds a volume that nobody mounts",
    "skip-containers-trimmed": "it knows no name with a blank before it",
    "skip-label-empty": _LABEL,
    "skip-label-false": _LABEL,
    "skip-label-true": _LABEL,
    "unknown-fields": "it drops fields of containers that it does not know",
    "volume-name-host-path": _VOLUME,
    "volume-name-other-audience": _VOLUME,
    "volume-name-other-file": _VOLUME,
    "windows-by-affinity": _AGENT,
    "windows-by-os": _AGENT,
    "windows-falls-back": _AGENT,
    "windows-no-agent": _AGENT,
}


def still(patch: Any) -> Any:
    """Return a patch without the dice, as the answers are kept: a day for what they have shortened."""
    text = re.sub(r'("expirationSeconds": )(79[2-9]|8[0-5]\d|86[0-3])\d\d\b', r"\g<1>86400", json.dumps(patch))
    return json.loads(text)


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_the_same_as_ours(name: str) -> None:
    case = json.loads((CORPUS / "pods" / f"{name}.json").read_text())
    rules = rules_of(case.get("rules", {}) | {"strict": True})
    answer, operations = response(case["pod"], facts_of(case), rules)
    ours = {"allowed": answer["allowed"], "patch": still(operations)}
    theirs = ANSWERS[name] | {"patch": ANSWERS[name]["patch"] or []}
    if name in DIFFERENT:
        assert ours != theirs, "the difference is gone: take it off the list"
    else:
        assert ours == theirs


def test_there_are_answers() -> None:
    assert len(ANSWERS) >= 90
    assert ANSWERS.keys() >= DIFFERENT.keys()

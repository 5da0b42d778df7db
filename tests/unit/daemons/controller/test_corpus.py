"""AWSIAMRoles. tests/corpus/awsiamrole: one file is one case, by legacy-proxies.md §6 where it names the original."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.grant import Grant, Refusal
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued
from rolecall.daemons.controller import wire
from rolecall.mechanisms.metadata_proxy import secret_files
from rolecall.mechanisms.metadata_proxy.settings import SecretFiles

CORPUS = Path(__file__).parents[3] / "corpus" / "awsiamrole"
CASES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(CORPUS.glob("*.json"))
}


def with_(part: str) -> list[str]:
    """Return the names of the cases that expect something about this."""
    return [name for name, case in CASES.items() if part in case["expect"]]


def seconds(text: str) -> float:
    """Return a moment in seconds."""
    return datetime.fromisoformat(text).timestamp()


def as_stored(secret: dict[str, Any]) -> bytes:
    """Return a Secret of a case as the API server has it."""
    data = {name: base64.b64encode(text.encode()).decode() for name, text in secret["data"].items()}
    return json.dumps({**secret, "data": data}).encode()


def decided(case: dict[str, Any]) -> tuple[secret_files.Resource, Grant | Refusal]:
    """Return a case's resource and the decision about it."""
    resource = wire.read_role(json.dumps(case["resource"]).encode()).resource
    return resource, secret_files.decide(SecretFiles(**case["rules"]), resource, case["namespace"])


@pytest.mark.parametrize("name", with_("role"))
def test_it_is_granted(name: str) -> None:
    """Role, session name and duration are those of the case."""
    _, decision = decided(CASES[name])
    assert isinstance(decision, Grant), decision
    hop = decision.hops[0]
    found = {"role": str(hop.role), "session": hop.session.name, "duration": hop.session.duration}
    assert found == {key: value for key, value in CASES[name]["expect"].items() if key in found}
    assert len(hop.session.name) <= 64


@pytest.mark.parametrize("name", with_("refusal"))
def test_it_is_refused(name: str) -> None:
    """The reason is the case's; only a decision takes away what was issued before."""
    _, decision = decided(CASES[name])
    expected = CASES[name]["expect"]
    assert isinstance(decision, Refusal), decision
    assert (decision.reason, secret_files.withdraws(decision)) == (
        expected["refusal"],
        expected.get("withdraws", False),
    )


@pytest.mark.parametrize("name", with_("renewal"))
def test_it_is_renewed(name: str) -> None:
    """What is held is renewed when, and why, the case says."""
    case = CASES[name]
    resource, decision = decided(case)
    assert isinstance(decision, Grant)
    held = wire.read_secret(as_stored(case["held"])) if "held" in case else None
    now, expected = seconds(case["now"]), case["expect"]["renewal"]
    plan = secret_files.renewal(SecretFiles(**case["rules"]), resource, decision, held, now)
    least, most = expected["after"] if isinstance(expected["after"], list) else (expected["after"],) * 2
    assert plan.why == expected["why"]
    assert least <= plan.at - now <= most
    assert (held is None or resource.uid in held.owners) == case["expect"].get("owned", True)


@pytest.mark.parametrize("name", with_("secret"))
def test_its_secret(name: str) -> None:
    """A new Secret is the case's, byte for byte; a changed one has the same data and labels."""
    case = CASES[name]
    resource, decision = decided(case)
    assert isinstance(decision, Grant)
    said = case["issued"]
    keys = Credentials(
        said["key"], Secret(said["secret"]), Secret(said["token"]), seconds(said["expires"]),
        AccountId("012345678910"),
    )  # fmt: skip
    files = secret_files.files(Issued(keys, "", ""), decision.role, resource.generation)
    expected = case["expect"]["secret"]
    made = json.loads(wire.new_secret(resource, files))
    assert made == json.loads(as_stored(expected))
    held = wire.read_secret(as_stored({**expected, "metadata": {**expected["metadata"], "resourceVersion": "9"}}))
    patch = {one["path"]: one["value"] for one in json.loads(wire.changed_secret(resource, held, files))}
    assert patch == {
        "/metadata/resourceVersion": "9",
        "/metadata/labels": expected["metadata"]["labels"],
        "/data": made["data"],
    }
    assert held.complete
    assert held.expires_at == seconds(said["expires"])
    assert said["secret"] not in repr((held, files))


def test_every_case_is_used() -> None:
    """No file is left out."""
    assert set(CASES) == {*with_("role"), *with_("refusal")}
    assert len(CASES) >= 60

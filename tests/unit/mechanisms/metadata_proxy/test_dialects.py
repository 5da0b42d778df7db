"""The dialects. tests/corpus/{kube2iam,kiam,metadataproxy}: one file is one case, by the source it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Grant, Refusal
from rolecall.core.names import ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import ContainerFacts, PodFacts
from rolecall.core.secrets import Secret
from rolecall.errors import BadInput, BadName, Misconfigured
from rolecall.mechanisms.imds.door import Asked, Gate
from rolecall.mechanisms.metadata_proxy import door, permitted, roles
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.kube2iam import Kube2iamDialect
from rolecall.mechanisms.metadata_proxy.metadataproxy import MetadataproxyDialect
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam, Metadataproxy

CORPUS = Path(__file__).parents[3] / "corpus"
ADDRESS = "10.0.0.9"
CASES: dict[str, dict[str, Any]] = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
    for dialect in ("kube2iam", "kiam", "metadataproxy")
    for path in sorted((CORPUS / dialect).glob("*.json"))
}
POD = PodFacts(
    ClusterName("demo"), Namespace("demo-ns"), "demo-pod", "uid-1", ServiceAccountName("demo-sa"), "node-1", ADDRESS
)


def of_kind(kind: str) -> list[str]:
    """Return the names of the cases of one kind."""
    return [name for name, case in CASES.items() if case["kind"] == kind]


def dialect_of(name: str, rules: dict[str, Any]) -> Dialect:
    """Return the dialect that a case is of, with its rules."""
    if name.startswith("kube2iam/"):
        return Kube2iamDialect(Kube2iam(**rules))
    return KiamDialect(Kiam(**rules)) if name.startswith("kiam/") else MetadataproxyDialect(Metadataproxy(**rules))


def facts_of(case: dict[str, Any]) -> Facts:
    """Return who asks in a case: a pod, or a container where it has an environment."""
    if "environment" in case:
        container = ContainerFacts("c1", "web", frozenset({ADDRESS}), case["environment"], case.get("labels", {}))
        return Facts(AtContainerIp(ADDRESS, container), account=case.get("own_account", ""))
    return Facts(AtPodIp(ADDRESS, POD), case["annotations"], case["namespace"])


def said(reply: Reply) -> list[Any]:
    """Return status and text; Go's errors end with a newline."""
    return [reply.status, reply.body.decode().removesuffix("\n")]


@pytest.mark.parametrize("name", of_kind("decide"))
def test_decide(name: str) -> None:
    """A role is granted, with its session and external id, or refused with a word and the proxy's own answer."""
    case = CASES[name]
    dialect, facts = dialect_of(name, case["rules"]), facts_of(case)
    asked = Asked("credentials", "/x", role=case["role"])
    got = dialect.decide(asked, facts)
    if case["grants"] is not None:
        assert isinstance(got, Grant), got
        assert str(got.role) == case["grants"]
        session = got.hops[0].session
        assert session.name == case.get("session", session.name)
        assert session.external_id == case.get("external_id")
        assert session.duration == 3600
    else:
        assert isinstance(got, Refusal), got
        assert got.reason == case["reason"]
        assert got.sentence == case.get("sentence", got.sentence)
        if "reply" in case:
            assert said(dialect.render_refusal(asked, ADDRESS, got)) == case["reply"]
    if "listing" in case:
        named = dialect.listing(facts)
        listing = Asked("listing", "/x", slash=True)
        shown = dialect.render_listing(named) if isinstance(named, str) else None
        shown = shown or dialect.render_refusal(listing, ADDRESS, named)  # type: ignore[arg-type]
        assert said(shown) == case["listing"]


@pytest.mark.parametrize("name", of_kind("path"))
def test_path(name: str) -> None:
    """What needs no role is answered by the dialect, or named as a document of the list."""
    case = CASES[name]
    request = Request("GET", case["target"], (("host", "169.254.169.254"),))
    got = door.parse(request, Gate(Secret("k"), ADDRESS), dialect_of(name, case.get("rules", {})), now=0.0)
    if "document" in case:
        assert isinstance(got, Asked)
        assert (got.what, got.document) == ("document", case["document"])
        return
    assert isinstance(got, Reply)
    status, text = case["reply"]
    assert said(got) == [status, text] if text is not None else got.status == status
    assert dict(got.headers).get("location") == case.get("location")


@pytest.mark.parametrize("name", of_kind("arn"))
def test_arn(name: str) -> None:
    """A name becomes an ARN as the proxy makes it."""
    case = CASES[name]
    arn = roles.kube2iam_arn if name.startswith("kube2iam/") else roles.kiam_arn
    if case["arn"] is None:
        with pytest.raises(BadName):
            arn(case["base"], case["text"])
    else:
        assert arn(case["base"], case["text"]) == case["arn"]


@pytest.mark.parametrize("name", [*of_kind("base"), *of_kind("profile")])
def test_base(name: str) -> None:
    """The base is set, or found by the profile's ARN; what is neither is refused."""
    case = CASES[name]
    find = roles.check_base if case["kind"] == "base" else roles.base_of_profile
    if case["base"] is None:
        with pytest.raises((Misconfigured, BadName)):
            find(case["text"])
    else:
        assert find(case["text"]) == case["base"]


@pytest.mark.parametrize("name", of_kind("session"))
def test_session(name: str) -> None:
    """kiam's session names."""
    assert roles.kiam_session(CASES[name]["text"]) == CASES[name]["session"]


def test_kube2iam_session() -> None:
    """FNV-1a's published vectors, and the last part of the role; at most 64 characters."""
    assert roles.kube2iam_session("a", "arn:aws:iam::1:role/p/r") == "e40c292c-r"
    assert roles.kube2iam_session("foobar", "x/r") == "bf9cf968-r"
    assert len(roles.kube2iam_session("a", "x/" + "r" * 80)) == 64


@pytest.mark.parametrize("name", of_kind("permits"))
def test_permits(name: str) -> None:
    """A namespace's expression, strictly and loosely; None where it cannot be read."""
    case = CASES[name]
    arn = roles.kiam_arn(case["base"], case["role"])
    rules: tuple[permitted.KiamRule, ...] = ("strict", "loose")
    for rule in rules:
        if case[rule] is None:
            with pytest.raises(BadInput):
                permitted.kiam_permits(case["expression"], arn, rule)
        else:
            assert permitted.kiam_permits(case["expression"], arn, rule) is case[rule]

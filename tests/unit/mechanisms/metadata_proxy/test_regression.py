"""What fooled the older proxies. tests/corpus/metadata-regression: in no dialect does it reach the node's service.

And in none does it give a role that is not the caller's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.caller import AtContainerIp, AtPodIp, OnNode
from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Grant
from rolecall.core.names import ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.records import ContainerFacts, PodFacts
from rolecall.core.secrets import Secret
from rolecall.mechanisms.host_role import decide as host_role
from rolecall.mechanisms.imds import documents
from rolecall.mechanisms.imds.door import Asked, Gate
from rolecall.mechanisms.metadata_proxy import door
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.deny import DenyDialect
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.kube2iam import Kube2iamDialect
from rolecall.mechanisms.metadata_proxy.metadataproxy import MetadataproxyDialect
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam, Metadataproxy

FILES = sorted((Path(__file__).parents[3] / "corpus" / "metadata-regression").glob("*.json"))
CASES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
BASE = "arn:aws:iam::123456789012:role/"
DIALECTS: dict[str, Dialect] = {
    "kube2iam": Kube2iamDialect(Kube2iam(base=BASE), documents.DOCUMENTS),
    "kiam": KiamDialect(Kiam(base=BASE, allow_route=".*")),
    "metadataproxy": MetadataproxyDialect(Metadataproxy(account="123456789012"), documents.DOCUMENTS),
    "deny": DenyDialect(documents.DOCUMENTS),
}
POD = PodFacts(ClusterName("c"), Namespace("n"), "a", "u1", ServiceAccountName("s"), "node-1", "10.0.0.7")
POD_FACTS = Facts(
    AtPodIp("10.0.0.7", POD), {"iam.amazonaws.com/role": "mine"}, {"iam.amazonaws.com/permitted": ".*"}
)  # fmt: skip
CONTAINER_FACTS = Facts(
    AtContainerIp("10.0.0.7", ContainerFacts("c1", "web", frozenset({"10.0.0.7"}), {"IAM_ROLE": "mine"}))
)
GATE = Gate(Secret("k"), "10.0.0.7 u1")


def facts_for(dialect: Dialect) -> Facts:
    """Return the caller: a pod or a container, annotated with the role ``mine``."""
    return CONTAINER_FACTS if dialect.name == "metadataproxy" else POD_FACTS


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("name", CASES)
def test_it_stays_here(name: str, dialect: Dialect) -> None:
    """It is refused with its status, or it is a question whose only good answer is the caller's own role."""
    case = CASES[name]
    asked = case["request"]
    headers = tuple((key, value) for key, value in asked["headers"])
    got = door.parse(Request(asked["method"], asked["target"], headers, peer="10.0.0.7"), GATE, dialect, now=0.0)
    if isinstance(got, Reply):
        wanted = case.get("status", 404 if dialect.name == "deny" else 301)
        assert got.status == wanted
        assert b"mine" not in got.body or got.body.startswith(b"request blocked")
        return
    assert "status" not in case
    assert got.what == case.get("what", "credentials")
    if got.what == "credentials":
        assert got.role == case["role"]
        decision = dialect.decide(got, facts_for(dialect))
        granted = isinstance(decision, Grant)
        assert granted is (dialect.name == "metadataproxy" and got.role == "mine/")
        assert not isinstance(decision, Grant) or str(decision.role) == f"{BASE}mine"


@pytest.mark.parametrize("role", [case["role"] for case in CASES.values() if "role" in case])
def test_the_host_role_is_asked_for_exactly(role: str) -> None:
    """Even where the node's role is given away, junk around its name does not lead to it."""
    facts = host_role.Facts(OnNode("node-1"), True, RoleArn.parse(f"{BASE}node-role"), "i-0abc")
    decision = host_role.decide(Asked("credentials", "", role=role), facts)
    assert isinstance(decision, Grant) is (role == "node-role")


SEGMENTS = st.sampled_from(
    ["latest", "2012-01-12", "1.0", "x", "meta-data", "iam", "security-credentials", "R", "mine", "node-role", "..",
     ".", "", "%2e%2e", "%2F", "%3F", "user-data", "identity-credentials", "ec2", "api", "token", "IAM", "iam;x",
     "info"]
)  # fmt: skip
ANNOTATIONS = st.dictionaries(
    st.sampled_from(["iam.amazonaws.com/role", "iam.amazonaws.com/external-id", "iam.amazonaws.com/session-name"]),
    st.sampled_from(["mine", "/mine", "", "R", f"{BASE}mine", "a b", "x" * 100]),
)


@given(st.lists(SEGMENTS, max_size=7), ANNOTATIONS, st.sampled_from([*DIALECTS]))
def test_no_one_gets_but_what_he_is_annotated_with(segments: list[str], annotations: dict[str, str], name: str) -> None:
    """Whatever the path: a grant is the annotated role's, a document is on the list, and all else is refused."""
    dialect = DIALECTS[name]
    request = Request("GET", "/" + "/".join(segments), (("host", "169.254.169.254"),), peer="10.0.0.7")
    got = door.parse(request, GATE, dialect, now=0.0)
    if isinstance(got, Reply):
        return
    if got.what == "document":
        assert got.document in documents.DOCUMENTS
        return
    facts = Facts(AtPodIp("10.0.0.7", POD), annotations, {"iam.amazonaws.com/permitted": ".*"})
    decision = dialect.decide(got, facts)
    if isinstance(decision, Grant):
        role = annotations["iam.amazonaws.com/role"]
        assert str(decision.role) == (role if role.startswith("arn:") else BASE + role.removeprefix("/"))

"""Which role a pod gets, with which session, or why none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rolecall.core.caller import HoldsToken
from rolecall.core.grant import Grant, Refusal
from rolecall.core.names import AccountId, Arn, ClusterName, Namespace, Partition, Region, RoleArn, ServiceAccountName
from rolecall.core.records import Association, ClusterFacts, PodFacts
from rolecall.core.source import Ask
from rolecall.core.tokens.claims import KubernetesClaims, VerifiedClaims
from rolecall.mechanisms.pod_identity.decide import Facts, decide

UUID = "5af5e7ac-5754-49ea-b28f-2c2a2eb95fbb"
ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/team/demo")
TARGET = RoleArn.parse("arn:aws:iam::210987654321:role/target")
EXTERNAL_ID = "us-west-2/123456789012/demo/demo-ns/demo-sa"
NAMESPACE, ACCOUNT = Namespace("demo-ns"), ServiceAccountName("demo-sa")
CLUSTER = ClusterFacts(
    ClusterName("demo"), Partition("aws"), Region("us-west-2"), AccountId("123456789012"), "https://i"
)
CLAIMS = VerifiedClaims(
    issuer="https://i",
    subject="system:serviceaccount:demo-ns:demo-sa",
    audience="pods.eks.amazonaws.com",
    expires_at=2.0,
    issued_at=1.0,
    kubernetes=KubernetesClaims(NAMESPACE, ACCOUNT, "sa-uid", pod_name="demo-sa-x7k2p", pod_uid="pod-uid"),
)
POD = PodFacts(CLUSTER.name, NAMESPACE, "demo-sa-x7k2p", "pod-uid", ACCOUNT, node="n1")
ASSOCIATION = Association(
    id="a-abcdefghijklmnop1",
    arn=Arn.parse("arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-abcdefghijklmnop1"),
    cluster=CLUSTER.name,
    namespace=NAMESPACE,
    service_account=ACCOUNT,
    role=ROLE,
    created_at=1.0,
    modified_at=1.0,
)
FACTS = Facts(CLUSTER, HoldsToken(CLAIMS), POD, ASSOCIATION, UUID)
# EKS User Guide, "Grant Pods access to AWS resources based on tags".
TAGS = {
    "eks-cluster-arn": "arn:aws:eks:us-west-2:123456789012:cluster/demo",
    "eks-cluster-name": "demo",
    "kubernetes-namespace": "demo-ns",
    "kubernetes-service-account": "demo-sa",
    "kubernetes-pod-name": "demo-sa-x7k2p",
    "kubernetes-pod-uid": "pod-uid",
}


def granted(facts: Facts) -> Grant:
    """Return the grant; a refusal fails the test."""
    decision = decide(Ask(), facts)
    assert isinstance(decision, Grant)
    return decision


def test_an_associated_pod_gets_the_role_for_six_hours() -> None:
    """One hop: six tags, all transitive, 21,600 s, and the session name as EKS Auth forms it."""
    grant = granted(FACTS)
    assert grant.because == ("a-abcdefghijklmnop1",)
    assert grant.role == ROLE
    (hop,) = grant.hops
    assert dict(hop.session.tags) == TAGS
    assert hop.session.transitive_keys == set(TAGS)
    assert hop.session.duration == 21_600
    assert hop.session.name == f"eks-demo-demo-sa-x7-{UUID}"  # names cut to 10, as in roadmap#2362
    assert (hop.session.external_id, hop.session.source_identity) == (None, None)


def test_a_target_role_is_reached_through_the_first() -> None:
    """Two hops of 59 minutes; the second carries the external id and sets no tag again: they are transitive."""
    grant = granted(replace(FACTS, association=replace(ASSOCIATION, target_role=TARGET, external_id=EXTERNAL_ID)))
    first, second = grant.hops
    assert (first.role, second.role, grant.role) == (ROLE, TARGET, TARGET)
    assert (first.session.duration, second.session.duration) == (3_540, 3_540)
    assert dict(first.session.tags) == TAGS
    assert dict(second.session.tags) == {}
    assert second.session.transitive_keys == frozenset()
    assert (first.session.external_id, second.session.external_id) == (None, EXTERNAL_ID)


def test_session_tags_can_be_turned_off() -> None:
    """disableSessionTags leaves no tag and no transitive key, also in a chain; the external id stays."""
    plain = granted(replace(FACTS, association=replace(ASSOCIATION, disable_session_tags=True)))
    assert [(dict(hop.session.tags), hop.session.transitive_keys) for hop in plain.hops] == [({}, frozenset())]
    chained = replace(ASSOCIATION, disable_session_tags=True, target_role=TARGET, external_id=EXTERNAL_ID)
    hops = granted(replace(FACTS, association=chained)).hops
    assert [dict(hop.session.tags) for hop in hops] == [{}, {}]
    assert hops[1].session.external_id == EXTERNAL_ID


REFUSED = {
    "no association": (replace(FACTS, association=None), "no-association"),
    "a pod that nobody knows": (replace(FACTS, pod=None), "pod-gone"),
    "a pod that has ended": (replace(FACTS, pod=replace(POD, running=False)), "pod-gone"),
    "a pod of another service account": (
        replace(FACTS, pod=replace(POD, service_account=ServiceAccountName("other"))),
        "pod-gone",
    ),
    "a pod of another namespace": (replace(FACTS, pod=replace(POD, namespace=Namespace("other"))), "pod-gone"),
    "neither pod nor association: the pod first": (replace(FACTS, pod=None, association=None), "pod-gone"),
}


@pytest.mark.parametrize(("facts", "reason"), REFUSED.values(), ids=REFUSED)
def test_refusals_say_why(facts: Facts, reason: str) -> None:
    """A stable reason word, and a sentence that names what it is about."""
    decision = decide(Ask(), facts)
    assert isinstance(decision, Refusal)
    assert decision.reason == reason
    assert "demo-sa" in decision.sentence


def test_an_agent_that_has_proved_its_node_is_served_for_that_node() -> None:
    """By where the pod runs, and not by what its token says; one that signs has proved none, and asks for any."""
    moved = replace(FACTS, pod=replace(POD, node="elsewhere"))
    for facts, node, granted_ in ((FACTS, POD.node, True), (moved, POD.node, False), (moved, "elsewhere", True)):
        assert isinstance(decide(Ask(agent_node=node), facts), Grant) is granted_
    refusal = decide(Ask(agent_node=POD.node), moved)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "agent-on-another-node"
    assert "elsewhere" not in refusal.sentence, "a thief is not told where to go"
    assert isinstance(decide(Ask(agent_node=""), FACTS), Refusal)

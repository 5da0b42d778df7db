"""Issuing, and what a program is given."""

from __future__ import annotations

import asyncio

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.credentials import Credentials
from rolecall.core.grant import Grant, Hop
from rolecall.core.injection import Place
from rolecall.core.names import AccountId, ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import ContainerFacts, PodFacts
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued, Subject
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.inject import environment
from rolecall.mechanisms.metadata_proxy.issue import issue
from rolecall.mechanisms.metadata_proxy.kube2iam import Kube2iamDialect
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam

ISSUED = Issued(Credentials("ASIA", Secret("s"), Secret("t"), 1.0, AccountId("123456789012")), "arn", "id")
POD = PodFacts(
    ClusterName("c"), Namespace("demo-ns"), "a", "u1", ServiceAccountName("demo-sa"), "node-1", "10.0.0.9"
)  # fmt: skip


def test_one_role_is_assumed() -> None:
    """The granted one, with its session; the pod's service account is told to the log, a container has none."""
    asked: list[Hop] = []

    async def assume(hop: Hop) -> Issued:
        asked.append(hop)
        return ISSUED

    dialect = Kube2iamDialect(Kube2iam(base="arn:aws:iam::123456789012:role/"))
    caller = AtPodIp("10.0.0.9", POD)
    grant = dialect.decide(Asked("credentials", "", role="r"), Facts(caller, {"iam.amazonaws.com/role": "r"}))
    assert isinstance(grant, Grant)
    issued = asyncio.run(issue(grant, caller, assume))
    assert issued.subject == Subject(Namespace("demo-ns"), ServiceAccountName("demo-sa"))
    assert asked == [grant.hops[0]]
    container = AtContainerIp("10.0.0.9", ContainerFacts("c1", "web"))
    assert asyncio.run(issue(grant, container, assume)).subject is None


def test_a_program_finds_the_door() -> None:
    """Nothing is needed where 169.254.169.254 leads to it."""
    place = Place(sts_regional=False)
    assert environment(place, endpoint=None) == ()
    assert environment(place, endpoint="http://127.0.0.1:1") == (
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"),
    )

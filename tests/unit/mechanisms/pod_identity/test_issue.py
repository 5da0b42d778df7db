"""How a grant becomes credentials: one AssumeRole a hop, each with the session before it."""

from __future__ import annotations

import asyncio

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.grant import Grant, Hop
from rolecall.core.names import AccountId, Arn, ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.records import Association
from rolecall.core.secrets import Secret
from rolecall.core.session import SessionSpec
from rolecall.core.source import Issued, Subject
from rolecall.errors import ServiceError
from rolecall.mechanisms.pod_identity.issue import issue

ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/first")
TARGET = RoleArn.parse("arn:aws:iam::210987654321:role/target")
ARN = "arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1"
ASSOCIATION = Association(
    id="a-1",
    arn=Arn.parse(ARN),
    cluster=ClusterName("demo"),
    namespace=Namespace("demo-ns"),
    service_account=ServiceAccountName("demo-sa"),
    role=ROLE,
    created_at=1.0,
    modified_at=1.0,
)
HOPS = (Hop(ROLE, SessionSpec("eks-1", 3540)), Hop(TARGET, SessionSpec("eks-1", 3540)))


class FakeSts:
    """Issues sessions of every role but those that it denies, and remembers who asked."""

    def __init__(self, denies: frozenset[RoleArn] = frozenset()) -> None:
        self.calls: list[tuple[Hop, str | None]] = []
        self._denies = denies

    async def assume(self, hop: Hop, before: Issued | None) -> Issued:
        self.calls.append((hop, None if before is None else before.assumed_role_arn))
        if hop.role in self._denies:
            raise ServiceError("AccessDenied", "no", status=403)
        held = Credentials(f"ASIA{hop.role.name}", Secret("s"), Secret("t"), 9e9, AccountId(hop.role.account))
        return Issued(held, hop.role.session(hop.session.name), f"AROA:{hop.session.name}")


def test_the_last_session_of_the_chain_is_the_pods() -> None:
    """The first hop is the server's own, the second is made with the first one's session."""
    sts = FakeSts()
    issued = asyncio.run(issue(Grant(HOPS, ()), ASSOCIATION, sts.assume))
    assert sts.calls == [(HOPS[0], None), (HOPS[1], "arn:aws:sts::123456789012:assumed-role/first/eks-1")]
    assert issued.credentials.access_key_id == "ASIAtarget"
    assert issued.assumed_role_arn == "arn:aws:sts::210987654321:assumed-role/target/eks-1"
    assert issued.subject == Subject(Namespace("demo-ns"), ServiceAccountName("demo-sa"))
    assert (issued.association_arn, issued.association_id) == (ARN, "a-1")


@pytest.mark.parametrize(("broken", "calls"), [(ROLE, 1), (TARGET, 2)], ids=["first", "second"])
def test_a_broken_chain_hands_out_nothing(broken: RoleArn, calls: int) -> None:
    """The error of the hop that failed is passed on, and no hop follows it."""
    sts = FakeSts(frozenset({broken}))
    with pytest.raises(ServiceError, match="no"):
        asyncio.run(issue(Grant(HOPS, ()), ASSOCIATION, sts.assume))
    assert len(sts.calls) == calls

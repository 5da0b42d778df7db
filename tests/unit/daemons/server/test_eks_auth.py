"""What EKS Auth says when the trouble is not the pod's: STS refuses, fails, or keys cannot be had."""

from __future__ import annotations

import asyncio
import logging

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rolecall.core.credentials import Credentials
from rolecall.core.grant import Hop
from rolecall.core.names import AccountId, Arn, ClusterName, Namespace, Partition, Region, RoleArn, ServiceAccountName
from rolecall.core.records import Association, ClusterFacts, PodFacts
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.core.tokens.keys import Keyset
from rolecall.daemons.server.eks_auth import eks_auth
from rolecall.errors import RolecallError, ServiceError, Upstream
from rolecall.mechanisms.pod_identity.wire import STATUS_OF

NOW = 1_707_554_335  # 2024-02-10T08:38:55Z
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NAMESPACE, ACCOUNT = Namespace("ns"), ServiceAccountName("sa")
CLUSTER = ClusterFacts(
    ClusterName("demo"), Partition("aws"), Region("us-west-2"), AccountId("123456789012"), "https://i"
)
ASSOCIATION = Association(
    id="a-1",
    arn=Arn.parse("arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1"),
    cluster=CLUSTER.name,
    namespace=NAMESPACE,
    service_account=ACCOUNT,
    role=RoleArn.parse("arn:aws:iam::123456789012:role/r"),
    created_at=1.0,
    modified_at=1.0,
)


class FakeWorld:
    """One cluster with one running pod and its association; keys fail where told so."""

    def __init__(self, keys_fail: RolecallError | None = None) -> None:
        self._keys_fail = keys_fail

    async def cluster(self, name: ClusterName) -> ClusterFacts | None:
        return CLUSTER if name == CLUSTER.name else None

    async def keys(self, cluster: ClusterFacts) -> Keyset:
        if self._keys_fail is not None:
            raise self._keys_fail
        return Keyset({"k": KEY.public_key()})

    async def pod(self, cluster: ClusterName, uid: str) -> PodFacts | None:
        return PodFacts(cluster, NAMESPACE, "sa-1", uid, ACCOUNT, node="n")

    async def association(
        self, cluster: ClusterName, namespace: Namespace, service_account: ServiceAccountName
    ) -> Association | None:
        return ASSOCIATION

    def now(self) -> float:
        return NOW + 0.284

    def session_id(self) -> str:
        return "5af5e7ac-5754-49ea-b28f-2c2a2eb95fbb"


def ask(exp: int = NOW + 600) -> Ask:
    """Return a pod's question."""
    kubernetes = {
        "namespace": "ns",
        "pod": {"name": "sa-1", "uid": "pod-uid"},
        "serviceaccount": {"name": "sa", "uid": "sa-uid"},
    }
    claims = {
        "aud": ["pods.eks.amazonaws.com"],
        "exp": exp,
        "iat": NOW - 90_000,
        "iss": "https://i",
        "kubernetes.io": kubernetes,
        "sub": "system:serviceaccount:ns:sa",
    }
    token = jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "k"})
    return Ask(token=Secret(token), cluster=CLUSTER.name)


def answered(asked: Ask, *, sts: RolecallError | None = None, keys: RolecallError | None = None) -> Issued:
    """Return EKS Auth's answer, with an STS and with keys that fail where an error is given."""

    async def assume(hop: Hop, before: Issued | None) -> Issued:
        if sts is not None:
            raise sts
        held = Credentials("ASIA1", Secret("s"), Secret("t"), 9e9, AccountId("123456789012"))
        return Issued(held, hop.role.session(hop.session.name), "AROA:x")

    return asyncio.run(eks_auth(FakeWorld(keys), assume)(asked))


def error_of(asked: Ask, *, sts: RolecallError | None = None, keys: RolecallError | None = None) -> ServiceError:
    """Return the error; whatever it is, the operation declares it with that status."""
    with pytest.raises(ServiceError) as caught:
        answered(asked, sts=sts, keys=keys)
    assert STATUS_OF[caught.value.code] == caught.value.status
    return caught.value


def test_credentials_are_tied_to_their_association() -> None:
    """The story without trouble."""
    issued = answered(ask())
    assert (issued.association_id, issued.association_arn) == ("a-1", str(ASSOCIATION.arn))
    assert issued.assumed_role_arn.startswith("arn:aws:sts::123456789012:assumed-role/r/eks-demo-sa-1-5af5e7ac")


STS = {
    "AccessDenied": (ServiceError("AccessDenied", "User x may not", status=403), "AccessDeniedException"),
    "too many tags": (ServiceError("PackedPolicyTooLarge", "112 %", status=400), "AccessDeniedException"),
    "expired broker": (ServiceError("ExpiredToken", "expired", status=403), "AccessDeniedException"),
    "throttled": (ServiceError("Throttling", "Rate exceeded", status=400), "ThrottlingException"),
    "throttled by status": (ServiceError("SlowDown", "Rate exceeded", status=429), "ThrottlingException"),
    "down": (ServiceError("ServiceUnavailable", "secret detail", status=503), "ServiceUnavailableException"),
    "unreachable": (Upstream("connect to sts refused"), "ServiceUnavailableException"),
    "of its own": (
        ServiceError("InternalServerException", "ours", status=500),
        "InternalServerException",
    ),
}


@pytest.mark.parametrize(("trouble", "code"), STS.values(), ids=STS)
def test_what_sts_says_is_not_what_eks_auth_says(
    trouble: RolecallError, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The pod reads one of EKS Auth's codes; the operator reads STS's sentence in the log."""
    with caplog.at_level(logging.WARNING, logger="rolecall.eks_auth"):
        error = error_of(ask(), sts=trouble)
    assert error.code == code
    if code == "AccessDeniedException":
        assert error.message == ("Unauthorized Exception! EKS does not have permissions to assume the associated role.")
    if code != "InternalServerException":
        (record,) = caplog.records
        assert record.fields["why"] == trouble.message  # type: ignore[attr-defined]
        assert trouble.message not in error.message or code == "ThrottlingException"


def test_keys_that_cannot_be_had_are_a_passing_trouble() -> None:
    """503: the agent keeps what it has, and asks again."""
    error = error_of(ask(), keys=Upstream("the issuer does not answer"))
    assert (error.code, error.retryable) == ("ServiceUnavailableException", True)


def test_an_expired_token_is_told_both_times() -> None:
    """In AWS's words and form (boto/botocore#3117)."""
    error = error_of(ask(exp=1_707_475_664))
    assert (error.code, error.message) == (
        "ExpiredTokenException",
        (
            "The token included in the request is expired: current date/time 2024-02-10T08:38:55Z must be before the "
            "expiration date/time 2024-02-09T10:47:44Z"
        ),
    )


def test_no_log_line_holds_the_token(caplog: pytest.LogCaptureFixture) -> None:
    """Not when it is refused for its own sake, either."""
    expired = ask(exp=NOW - 1)
    assert expired.token is not None
    with caplog.at_level(logging.DEBUG):
        error_of(expired)
    assert [record for record in caplog.records if expired.token.reveal() in str(record.__dict__)] == []
    assert caplog.records

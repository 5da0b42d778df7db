"""Who is asking: the pod that a token of this cluster's issuer is bound to."""

from __future__ import annotations

from rolecall.core.caller import HoldsToken
from rolecall.core.records import ClusterFacts
from rolecall.core.secrets import Secret
from rolecall.core.tokens.claims import VerifiedClaims
from rolecall.core.tokens.keys import Keyset
from rolecall.core.tokens.verify import STS_ALGORITHMS, DoorRules, verify
from rolecall.mechanisms.pod_identity.inject import AUDIENCE

AGENT_AUDIENCE = "rolecall-server"
"""The audience of the token that an agent shows our server: not that of pods, so that no pod's token will do."""


def identify(token: Secret, *, cluster: ClusterFacts, keys: Keyset, now: float) -> HoldsToken:
    """Return the verified holder; raises `BadToken` with the step that failed. No leeway is given on time."""
    return HoldsToken(_verified(token, AUDIENCE, cluster, keys, now))


def identify_agent(token: Secret, *, cluster: ClusterFacts, keys: Keyset, now: float) -> VerifiedClaims:
    """Return what the token of an agent says, which asks for others; raises as `identify` does."""
    return _verified(token, AGENT_AUDIENCE, cluster, keys, now)


def _verified(token: Secret, audience: str, cluster: ClusterFacts, keys: Keyset, now: float) -> VerifiedClaims:
    rules = DoorRules(
        algorithms=STS_ALGORITHMS,
        leeway=0.0,
        issuer=cluster.issuer,
        audiences=frozenset({audience}),
        require_kubernetes=True,
        require_pod=True,
    )
    return verify(token.reveal(), keys=keys, rules=rules, now=now)

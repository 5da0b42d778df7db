"""Who is asking: the pod that a token of this cluster's issuer is bound to."""

from __future__ import annotations

from rolecall.core.caller import HoldsToken
from rolecall.core.records import ClusterFacts
from rolecall.core.secrets import Secret
from rolecall.core.tokens.keys import Keyset
from rolecall.core.tokens.verify import STS_ALGORITHMS, DoorRules, verify
from rolecall.mechanisms.pod_identity.inject import AUDIENCE


def identify(token: Secret, *, cluster: ClusterFacts, keys: Keyset, now: float) -> HoldsToken:
    """Return the verified holder; raises `BadToken` with the step that failed. No leeway is given on time."""
    rules = DoorRules(
        algorithms=STS_ALGORITHMS,
        leeway=0.0,
        issuer=cluster.issuer,
        audiences=frozenset({AUDIENCE}),
        require_kubernetes=True,
        require_pod=True,
    )
    return HoldsToken(verify(token.reveal(), keys=keys, rules=rules, now=now))

"""Who is asking: the holder of a token that the role account's OIDC provider vouches for."""

from __future__ import annotations

from collections.abc import Iterable

from rolecall.core.caller import HoldsToken
from rolecall.core.secrets import Secret
from rolecall.core.tokens.keys import Keyset
from rolecall.core.tokens.verify import STS_ALGORITHMS, DoorRules, verify

LEEWAY = 300.0  # STS tolerates five minutes of clock difference (landscape.md §1.5)


def identify(token: Secret, *, issuer: str, client_ids: Iterable[str], keys: Keyset, now: float) -> HoldsToken:
    """Return the verified holder; raises `BadToken` with the step that failed.

    `issuer` and `client_ids` are those of the registered provider; `keys` are the issuer's own.
    """
    rules = DoorRules(
        algorithms=STS_ALGORITHMS,
        leeway=LEEWAY,
        issuer=issuer,
        audiences=frozenset(client_ids),
        require_kubernetes=False,
    )
    return HoldsToken(verify(token.reveal().strip(), keys=keys, rules=rules, now=now))

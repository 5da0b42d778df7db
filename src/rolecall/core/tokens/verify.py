"""The numbered steps from a token to its verified claims. Nowhere else are `VerifiedClaims` made.

1. Shape: a compact JWS, bounded (`jws.split`); no ``crit`` header. ``jku``, ``x5u``, ``jwk`` are never read.
2. Algorithm: on the door's allow-list; ``none`` and HMAC never are.
3. Key: by ``kid`` among the registered issuer's own keys, and of the algorithm's type.
4. Signature.
5. Issuer: equal to the expected one, byte for byte.
6. Audience: strict; of several audiences ``azp`` says which counts.
7. Time: ``exp``, ``nbf``, ``iat`` against `now`, with the door's leeway.
8. Subject, and the other claims in their types.
9. Kubernetes: namespace, service account, pod and node, consistent with the subject.

Left to the caller: that the issuer is registered, that the keys are its own, that the pod still runs, and that
the role is one of `VerifiedClaims.authorized_roles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolecall.core.tokens import read
from rolecall.core.tokens.claims import KUBERNETES, SOURCE_IDENTITY, KubernetesClaims, VerifiedClaims, class_of
from rolecall.core.tokens.jws import NotBelieved, split
from rolecall.core.tokens.keys import Keyset
from rolecall.core.tokens.signature import STS_ALGORITHMS, algorithm_of, check_key, check_signature

__all__ = ["STS_ALGORITHMS", "DoorRules", "verify"]


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What one door accepts. `leeway` is in seconds; `node` is compared where it is given.

    `require_pod` and `node` ask for the Kubernetes claim as `require_kubernetes` does.
    """

    algorithms: frozenset[str]
    leeway: float
    issuer: str
    audiences: frozenset[str]
    require_kubernetes: bool
    require_pod: bool = False
    node: str | None = None

    def __post_init__(self) -> None:
        unknown = self.algorithms - STS_ALGORITHMS
        if unknown:
            raise ValueError(f"no door may accept {', '.join(sorted(unknown))}")

    @property
    def asks_for_kubernetes(self) -> bool:
        """Whether a token without a good ``kubernetes.io`` claim is refused."""
        return self.require_kubernetes or self.require_pod or self.node is not None


def verify(token: str, *, keys: Keyset, rules: DoorRules, now: float) -> VerifiedClaims:
    """Return the claims of a token that passed all nine steps, or raise `NotBelieved` with the failed one.

    Reasons, by step: 1 those of `split`, ``bad-header``; 2 ``unsigned``, ``bad-algorithm``; 3 ``unknown-key``,
    ``bad-algorithm``; 4 ``bad-signature``; 5 ``wrong-issuer``; 6 ``wrong-audience``, ``many-audiences-no-azp``;
    7 ``expired``, ``not-yet-valid``; 9 ``not-kubernetes``, ``no-pod``, ``wrong-node``; 5 to 8 also
    ``missing-claim``, 6 to 9 ``bad-claim``. The error's `claim` names the claim at fault.
    """
    jws = split(token)  # 1
    kid = _key_id(jws.header)
    algorithm = algorithm_of(jws.header, rules.algorithms)  # 2
    key = keys.choose(kid)  # 3
    check_key(key, algorithm)
    check_signature(jws, key, algorithm)  # 4
    claims = jws.payload
    if read.required(claims, "iss", 5) != rules.issuer:  # 5
        raise NotBelieved(5, "wrong-issuer", f"the token's issuer is not {rules.issuer}", claim="iss")
    audiences, party = read.audiences(claims), read.optional_text(claims, "azp", 6)
    audience = _audience(audiences, party, rules)  # 6
    expires_at, issued_at, not_before = _times(claims, rules.leeway, now)  # 7
    subject = read.subject(claims)  # 8
    return VerifiedClaims(
        issuer=rules.issuer,
        subject=subject,
        audience=audience,
        expires_at=expires_at,
        issued_at=issued_at,
        not_before=not_before,
        audiences=audiences,
        authorized_party=party,
        token_id=read.optional_text(claims, "jti", 8),
        aws_tags=read.session_tags(claims),
        source_identity=read.optional_text(claims, SOURCE_IDENTITY, 8),
        authorized_roles=read.authorized_roles(claims),
        unknown=tuple(sorted(name for name in claims if class_of(name) is None)),
        kubernetes=_kubernetes(claims, subject, rules),  # 9
    )


def _key_id(header: Mapping[str, Any]) -> str | None:
    if "crit" in header:
        raise NotBelieved(1, "bad-header", "the token's header has critical extensions, of which none is known")
    if "kid" not in header:
        return None
    kid = header["kid"]
    if not isinstance(kid, str):
        raise NotBelieved(1, "bad-header", "the token's key id is not a string")
    return kid


def _audience(audiences: tuple[str, ...], party: str | None, rules: DoorRules) -> str:
    """Return the audience that counts (OpenID Connect Core §2; landscape.md §1.5)."""
    if len(audiences) > 1 and party is None:
        fault = "the token has several audiences and no authorized party"
        raise NotBelieved(6, "many-audiences-no-azp", fault, claim="azp")
    audience = party if party is not None else audiences[0]
    if audience not in rules.audiences:
        fault = f"the token's audience is not {' or '.join(sorted(rules.audiences)[:5])}"
        raise NotBelieved(6, "wrong-audience", fault, claim="aud" if party is None else "azp")
    return audience


def _times(claims: Mapping[str, Any], leeway: float, now: float) -> tuple[float, float, float | None]:
    """Return ``exp``, ``iat``, ``nbf``. The sentences are those of STS, with its clock moved by the leeway."""
    expires_at = read.time(read.required(claims, "exp", 7), "exp")
    issued_at = read.time(read.required(claims, "iat", 7), "iat")
    not_before = read.time(claims["nbf"], "nbf") if "nbf" in claims else None
    if now - leeway >= expires_at:
        raise NotBelieved(
            7,
            "expired",
            f"Token expired: current date/time {int(now - leeway)} must be before "
            f"the expiration date/time {int(expires_at)}",
            claim="exp",
            hint="read the token file again: the kubelet has replaced it",
        )
    if not_before is not None and now + leeway < not_before:
        fault = (
            f"Token not yet valid: current date/time {int(now + leeway)} must be after or equal to "
            f"the not-before date/time {int(not_before)}"
        )
        raise NotBelieved(7, "not-yet-valid", fault, claim="nbf")
    if now + leeway < issued_at:
        raise NotBelieved(7, "not-yet-valid", f"Token issued in the future: {int(issued_at)}", claim="iat")
    return expires_at, issued_at, not_before


def _kubernetes(claims: Mapping[str, Any], subject: str, rules: DoorRules) -> KubernetesClaims | None:
    """Return the claim where it is good; where it is not, raise at a door that asks for it, else None."""
    if claims.get(KUBERNETES) is None:
        if rules.asks_for_kubernetes:
            fault = "the token is not a service account's: it has no kubernetes.io claim"
            raise NotBelieved(9, "not-kubernetes", fault, claim=KUBERNETES)
        return None
    try:
        kubernetes = read.kubernetes_claims(claims, subject)
    except NotBelieved:
        if rules.asks_for_kubernetes:
            raise
        return None
    if rules.require_pod and (kubernetes.pod_uid is None or kubernetes.pod_name is None):
        fault = "the token is not bound to a pod"
        raise NotBelieved(9, "no-pod", fault, claim=KUBERNETES, hint="use the token projected into the pod")
    if rules.node is not None and kubernetes.node_name != rules.node:
        raise NotBelieved(9, "wrong-node", "the token belongs to a pod of another node", claim=KUBERNETES)
    return kubernetes

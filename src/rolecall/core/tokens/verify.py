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

Left to the caller: that the issuer is registered, that the keys are its own, that the pod still runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.core.tokens.claims import (
    CLASSES,
    FLAT_TAG,
    FLAT_TRANSITIVE,
    KubernetesClaims,
    SessionTags,
    VerifiedClaims,
)
from rolecall.core.tokens.jws import Jws, split
from rolecall.core.tokens.keys import Keyset, PublicKey
from rolecall.errors import BadName, BadToken

STS_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVE_OF = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48), "ES512": ("secp521r1", 66)}
_SUBJECT = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")
_DIGITS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What one door accepts. `leeway` is in seconds; `node` is compared where it is given."""

    algorithms: frozenset[str]
    leeway: float
    issuer: str
    audiences: frozenset[str]
    require_kubernetes: bool
    require_pod: bool = False
    node: str | None = None


def verify(token: str, *, keys: Keyset, rules: DoorRules, now: float) -> VerifiedClaims:
    """Return the claims of a token that passed all nine steps, or raise `BadToken` with the failed one.

    Reasons, by step: 1 those of `split`, ``bad-header``; 2 ``unsigned``, ``bad-algorithm``; 3 ``unknown-key``;
    4 ``bad-signature``; 5 ``wrong-issuer``; 6 ``wrong-audience``, ``many-audiences-no-azp``; 7 ``expired``,
    ``not-yet-valid``; 8 ``missing-claim``, ``bad-claim``; 9 ``not-kubernetes``, ``no-pod``, ``wrong-node``.
    """
    jws = split(token)  # 1
    if "crit" in jws.header:
        raise BadToken("bad-header", "the token's header has critical extensions, of which none is known")
    algorithm = _algorithm(jws, rules)  # 2
    kid = jws.header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise BadToken("bad-header", "the token's key id is not a string")
    key = keys.choose(kid)  # 3
    _check_signature(jws, algorithm, key)  # 4
    claims = jws.payload
    for name, kind in CLASSES.items():
        if kind == "required" and claims.get(name) is None:
            raise BadToken("missing-claim", f"Missing a required claim: {name}")
    if claims["iss"] != rules.issuer:  # 5
        raise BadToken("wrong-issuer", f"the token's issuer is not {rules.issuer}")
    audience = _audience(claims, rules)  # 6
    expires_at, issued_at, not_before = _times(claims, rules.leeway, now)  # 7
    subject = _text(claims, "sub")  # 8
    kubernetes = _kubernetes(claims, subject, rules)  # 9
    return VerifiedClaims(
        issuer=rules.issuer,
        subject=subject,
        audience=audience,
        expires_at=expires_at,
        issued_at=issued_at,
        not_before=not_before,
        kubernetes=kubernetes,
        aws_tags=_tags(claims),
        source_identity=_optional_text(claims, "https://aws.amazon.com/source_identity"),
        unknown=tuple(sorted(name for name in claims if name not in CLASSES and not name.startswith(FLAT_TAG))),
    )


def _algorithm(jws: Jws, rules: DoorRules) -> str:
    algorithm = jws.header.get("alg")
    if isinstance(algorithm, str) and algorithm.lower() == "none":
        raise BadToken("unsigned", "the token is not signed")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        raise BadToken("bad-algorithm", f"the token's algorithm is not one of {', '.join(sorted(rules.algorithms))}")
    return algorithm


def _check_signature(jws: Jws, algorithm: str, key: PublicKey) -> None:
    digest = _HASHES[algorithm[2:]]
    wrong = BadToken("bad-signature", "the token's signature does not verify with its issuer's key")
    try:
        if algorithm.startswith("RS") and isinstance(key, rsa.RSAPublicKey):
            key.verify(jws.signature, jws.signing_input, padding.PKCS1v15(), digest)
            return
        if algorithm.startswith("ES") and isinstance(key, ec.EllipticCurvePublicKey):
            curve, size = _CURVE_OF[algorithm]
            if key.curve.name != curve or len(jws.signature) != 2 * size:
                raise wrong
            r, s = (int.from_bytes(half, "big") for half in (jws.signature[:size], jws.signature[size:]))
            key.verify(encode_dss_signature(r, s), jws.signing_input, ec.ECDSA(digest))
            return
    except InvalidSignature:
        raise wrong from None
    raise BadToken("bad-algorithm", f"the token says {algorithm}, but its key is of another type")


def _audience(claims: Mapping[str, Any], rules: DoorRules) -> str:
    """Return the audience that counts (OpenID Connect Core §2; landscape.md §1.5)."""
    found = claims["aud"]
    audiences = [found] if isinstance(found, str) else found
    if not isinstance(audiences, list) or not audiences or not all(isinstance(one, str) for one in audiences):
        raise BadToken("bad-claim", "the token's aud is neither a string nor a list of strings")
    party = _optional_text(claims, "azp")
    if len(audiences) > 1 and party is None:
        raise BadToken("many-audiences-no-azp", "the token has several audiences and no authorized party")
    audience: str = party if party is not None else audiences[0]
    if audience not in rules.audiences:
        raise BadToken("wrong-audience", f"the token's audience is not {' or '.join(sorted(rules.audiences)[:5])}")
    return audience


def _times(claims: Mapping[str, Any], leeway: float, now: float) -> tuple[float, float, float | None]:
    expires_at, issued_at = _time(claims, "exp"), _time(claims, "iat")
    not_before = _time(claims, "nbf") if claims.get("nbf") is not None else None
    if now >= expires_at + leeway:
        raise BadToken(
            "expired",
            f"Token expired: current date/time {int(now)} must be before the expiration date/time {int(expires_at)}",
            hint="read the token file again: the kubelet has replaced it",
        )
    if not_before is not None and now < not_before - leeway:
        raise BadToken("not-yet-valid", f"the token is not valid before {int(not_before)}; it is {int(now)} now")
    if now < issued_at - leeway:
        raise BadToken("not-yet-valid", f"the token was issued at {int(issued_at)}; it is {int(now)} now")
    return expires_at, issued_at, not_before


def _time(claims: Mapping[str, Any], name: str) -> float:
    """Return a time; whole seconds as a number or as digits, as STS takes them."""
    value = claims[name]
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise BadToken("bad-claim", f"the token's {name} is not a time in whole seconds")
    return float(value)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str):
        raise BadToken("bad-claim", f"the token's {name} is not a string")
    return value


def _optional_text(claims: Mapping[str, Any], name: str) -> str | None:
    return None if claims.get(name) is None else _text(claims, name)


def _kubernetes(claims: Mapping[str, Any], subject: str, rules: DoorRules) -> KubernetesClaims | None:
    found = claims.get("kubernetes.io")
    if found is None:
        if rules.require_kubernetes:
            raise BadToken("not-kubernetes", "the token is not a service account's: it has no kubernetes.io claim")
        return None
    try:
        kubernetes = _read_kubernetes(found)
    except (KeyError, TypeError, AttributeError, BadName):
        raise BadToken("bad-claim", "the token's kubernetes.io claim does not have its form") from None
    named = _SUBJECT.fullmatch(subject)
    if named is None or named.groups() != (kubernetes.namespace, kubernetes.service_account):
        raise BadToken("bad-claim", "the token's sub and its kubernetes.io claim name different service accounts")
    if rules.require_pod and (not kubernetes.pod_uid or not kubernetes.pod_name):
        raise BadToken("no-pod", "the token is not bound to a pod", hint="use the token projected into the pod")
    if rules.node is not None and kubernetes.node_name != rules.node:
        raise BadToken("wrong-node", "the token belongs to a pod of another node")
    return kubernetes


def _read_kubernetes(found: Mapping[str, Any]) -> KubernetesClaims:
    account, pod, node = found["serviceaccount"], found.get("pod") or {}, found.get("node") or {}
    optional = {
        "pod_name": pod.get("name"),
        "pod_uid": pod.get("uid"),
        "node_name": node.get("name"),
        "node_uid": node.get("uid"),
    }
    uid = account["uid"]
    if not isinstance(uid, str) or not all(value is None or isinstance(value, str) for value in optional.values()):
        raise TypeError
    return KubernetesClaims(
        namespace=Namespace.parse(found["namespace"]),
        service_account=ServiceAccountName.parse(account["name"]),
        service_account_uid=uid,
        **optional,
    )


def _tags(claims: Mapping[str, Any]) -> SessionTags | None:
    """Return session tags in their nested or their flattened form; a value is a string or a list of one."""
    nested = claims.get("https://aws.amazon.com/tags")
    if nested is not None and not isinstance(nested, dict):
        raise BadToken("bad-claim", "the token's tags claim is not an object")
    nested = nested or {}
    raw = nested.get("principal_tags") or {
        name.removeprefix(FLAT_TAG): value for name, value in claims.items() if name.startswith(FLAT_TAG)
    }
    keys = nested.get("transitive_tag_keys") or claims.get(FLAT_TRANSITIVE) or []
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(raw, dict) or not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BadToken("bad-claim", "the token's tags claim does not have its form")
    tags: dict[str, str] = {}
    for key, value in raw.items():
        one = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(one, str):
            raise BadToken("bad-claim", "a session tag in the token does not have exactly one text value")
        tags[key] = one
    return SessionTags(tags, tuple(keys)) if tags else None

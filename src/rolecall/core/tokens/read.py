"""Claims in their types. What a claim may look like follows STS as it was measured (landscape.md §1.5).

Nothing here believes anything: `rolecall.core.tokens.verify` calls it after the signature was checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from rolecall.core.names import Namespace, PodName, ServiceAccountName
from rolecall.core.tokens.claims import (
    FLAT_TAG,
    FLAT_TRANSITIVE,
    KUBERNETES,
    ROLES,
    TAGS,
    KubernetesClaims,
    SessionTags,
)
from rolecall.core.tokens.jws import NotBelieved
from rolecall.errors import BadName

Claims = Mapping[str, Any]

_DIGITS = re.compile(r"[0-9]{1,12}")
_SUBJECT = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")


def required(claims: Claims, name: str, step: int) -> Any:
    """Return a claim that must be there; null is there, and refused by its type."""
    if name not in claims:
        raise NotBelieved(step, "missing-claim", f"Missing a required claim: {name}", claim=name)
    return claims[name]


def optional_text(claims: Claims, name: str, step: int) -> str | None:
    """Return a string, or None where the claim is absent or null."""
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise _bad(step, name, "is not a string")
    return value


def subject(claims: Claims) -> str:
    """Return ``sub``: any string, also an empty one. Whole numbers become their digits, as at STS."""
    value = required(claims, "sub", 8)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _bad(8, "sub", "is not a string")
    return value


def time(value: Any, name: str) -> float:
    """Return a time; whole seconds as a number or as digits, as STS takes them."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise _bad(7, name, "is not a time in whole seconds")
    return float(value)


def audiences(claims: Claims) -> tuple[str, ...]:
    """Return all audiences, at least one, in the token's order."""
    found = required(claims, "aud", 6)
    named = [found] if isinstance(found, str) else found
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        raise _bad(6, "aud", "is neither a string nor a list of strings")
    return tuple(named)


def session_tags(claims: Claims) -> SessionTags | None:
    """Return session tags in their nested form (each value a list of one text) or their flattened one (texts).

    Where there are both, the nested one counts. Raises `NotBelieved` ``bad-claim`` for other forms, and for
    a transitive key that is no tag.
    """
    nested = claims.get(TAGS)
    if nested is None:
        flat = {name.removeprefix(FLAT_TAG): value for name, value in claims.items() if name.startswith(FLAT_TAG)}
        tags = {key: _tag_text(value, f"{FLAT_TAG}{key}") for key, value in flat.items()}
        return _with_transitive(tags, claims.get(FLAT_TRANSITIVE), FLAT_TRANSITIVE)
    if not isinstance(nested, dict):
        raise _bad(8, TAGS, "is not an object")
    raw = nested.get("principal_tags", {})
    if not isinstance(raw, dict):
        raise _bad(8, TAGS, "does not have its form: principal_tags is an object")
    tags = {key: _tag_text(_only(value), TAGS) for key, value in raw.items()}
    return _with_transitive(tags, nested.get("transitive_tag_keys"), TAGS)


def _with_transitive(tags: dict[str, str], keys: Any, claim: str) -> SessionTags | None:
    keys = [] if keys is None else keys
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _bad(8, claim, "does not have its form: transitive_tag_keys is a list of strings")
    if any(key not in tags for key in keys):
        raise _bad(8, claim, "names a transitive key that is not the key of a tag")
    return SessionTags(tags, tuple(keys)) if tags else None


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else None


def _tag_text(value: Any, claim: str) -> str:
    if not isinstance(value, str):
        raise NotBelieved(
            8,
            "bad-claim",
            "a session tag in the token does not have exactly one text value",
            claim=claim,
            hint='nested: "principal_tags": {"Team": ["blue"]}; flattened: "…/tags/principal_tags/Team": "blue"',
        )
    return value


def authorized_roles(claims: Claims) -> tuple[str, ...] | None:
    """Return the role ARNs that the issuer lets the holder assume; None where it does not say.

    The claim is a list, or texts separated by semicolons. What is neither names no role, so none may be assumed.
    """
    found = claims.get(ROLES)
    if found is None:
        return None
    named = found.split(";") if isinstance(found, str) else found if isinstance(found, list) else []
    return tuple(one.strip() for one in named if isinstance(one, str) and one.strip())


class _Ref(msgspec.Struct):
    name: str = ""
    uid: str = ""


class _Bound(msgspec.Struct):
    namespace: str
    serviceaccount: _Ref
    pod: _Ref | None = None
    node: _Ref | None = None


_NO_REF = _Ref()


def kubernetes_claims(claims: Claims, named: str) -> KubernetesClaims:
    """Return the ``kubernetes.io`` claim, which must be about the service account that the subject `named`."""
    try:
        bound = msgspec.convert(claims[KUBERNETES], _Bound)
        namespace, account = Namespace.parse(bound.namespace), ServiceAccountName.parse(bound.serviceaccount.name)
        pod, node = bound.pod or _NO_REF, bound.node or _NO_REF
        pod_name = PodName.parse(pod.name) if pod.name else None
    except (msgspec.ValidationError, BadName):
        raise _bad(9, KUBERNETES, "claim does not have its form") from None
    if not bound.serviceaccount.uid:
        raise _bad(9, KUBERNETES, "claim does not have its form: the service account has no uid")
    about = _SUBJECT.fullmatch(named)
    if about is None or about.groups() != (namespace, account):
        fault = "the token's sub and its kubernetes.io claim name different service accounts"
        raise NotBelieved(9, "bad-claim", fault, claim=KUBERNETES)
    return KubernetesClaims(
        namespace=namespace,
        service_account=account,
        service_account_uid=bound.serviceaccount.uid,
        pod_name=pod_name,
        pod_uid=pod.uid or None,
        node_name=node.name or None,
        node_uid=node.uid or None,
    )


def _bad(step: int, name: str, what: str) -> NotBelieved:
    return NotBelieved(step, "bad-claim", f"the token's {name} {what}", claim=name)

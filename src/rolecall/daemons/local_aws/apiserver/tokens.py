"""Projected service-account tokens, as a 1.32 API server writes them (Kubernetes, TokenRequest API)."""

from __future__ import annotations

from rolecall.core.injection import SHORTEST_TOKEN, check_audience
from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.daemons.local_aws.apiserver.wire import Pod, Token
from rolecall.daemons.local_aws.issuers import Issuer
from rolecall.edges import entropy
from rolecall.errors import BadName, ServiceError

LONGEST_TOKEN = 2**32


def mint(
    issuer: Issuer,
    *,
    namespace: Namespace,
    service_account: ServiceAccountName,
    account_uid: str,
    audience: str,
    seconds: int,
    pod: Pod | None,
    node_uid: str,
    cap: int | None,
    now: float,
) -> Token:
    """Return a token signed by the cluster's issuer.

    `seconds` is what was asked for, at least 600; the token lives `cap` seconds where that is shorter.
    Raises `ServiceError` for an empty audience or a lifetime the TokenRequest API would refuse.
    """
    try:
        check_audience(audience)
    except BadName as fault:
        raise ServiceError("InvalidParameterException", fault.message) from None
    if not SHORTEST_TOKEN <= seconds <= LONGEST_TOKEN:
        raise ServiceError(
            "InvalidParameterException",
            f"expirationSeconds: may not be less than {SHORTEST_TOKEN} seconds or more than 2^32 seconds",
        )
    issued_at = int(now)
    expires_at = issued_at + min(seconds, cap or seconds)
    claims = {
        "aud": [audience],
        "exp": expires_at,
        "iat": issued_at,
        "iss": issuer.url,
        "jti": entropy.uuid4(),
        "kubernetes.io": _kubernetes(namespace, service_account, account_uid, pod, node_uid),
        "nbf": issued_at,
        "sub": f"system:serviceaccount:{namespace}:{service_account}",
    }
    return Token(token=issuer.key.sign(claims), issued_at=float(issued_at), expires_at=float(expires_at))


def _kubernetes(
    namespace: Namespace, service_account: ServiceAccountName, account_uid: str, pod: Pod | None, node_uid: str
) -> dict[str, object]:
    """Return the private claims; a token without a pod names no node either."""
    bound: dict[str, object] = {}
    if pod is not None:
        bound = {"node": {"name": pod.node, "uid": node_uid}, "pod": {"name": pod.name, "uid": pod.uid}}
    account = {"name": str(service_account), "uid": account_uid}
    return {"namespace": str(namespace), **bound, "serviceaccount": account}

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
    kubernetes: dict[str, object] = {"namespace": str(namespace)}
    if pod is not None:
        kubernetes["node"] = {"name": pod.node, "uid": node_uid}
        kubernetes["pod"] = {"name": pod.name, "uid": pod.uid}
    kubernetes["serviceaccount"] = {"name": str(service_account), "uid": account_uid}
    claims = {
        "aud": [audience],
        "exp": expires_at,
        "iat": issued_at,
        "iss": issuer.url,
        "jti": entropy.uuid4(),
        "kubernetes.io": kubernetes,
        "nbf": issued_at,
        "sub": f"system:serviceaccount:{namespace}:{service_account}",
    }
    return Token(token=issuer.key.sign(claims), issued_at=float(issued_at), expires_at=float(expires_at))

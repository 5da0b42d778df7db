"""EKS Auth: AssumeRoleForPodIdentity, wired from the rooms of Pod Identity.

gather (cluster, keys, pod, association) → identify → decide → issue. What AWS calls each failure is the table
here; the operator reads the real reason in the log.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Protocol

from rolecall.core.grant import Grant
from rolecall.core.names import ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import Association, ClusterFacts, PodFacts
from rolecall.core.source import Ask, Issued, Source, decided
from rolecall.core.tokens.jws import split
from rolecall.core.tokens.keys import Keyset
from rolecall.errors import BadToken, Refused, ServiceError, Upstream
from rolecall.mechanisms.pod_identity.decide import Facts, decide
from rolecall.mechanisms.pod_identity.identify import identify
from rolecall.mechanisms.pod_identity.issue import Assume, issue
from rolecall.mechanisms.pod_identity.wire import STATUS_OF

log = logging.getLogger("rolecall.eks_auth")

# EKS Auth API Reference and observed texts (landscape.md §2.1). All of these are final for the agent.
_NO_ASSOCIATION = "The token included in the request has no service account role association for it."
_UNAUTHORIZED = "Unauthorized Exception! EKS does not have permissions to assume the associated role."
_UNAVAILABLE = "Credentials cannot be issued at the moment. Try again."


class World(Protocol):
    """What EKS Auth gathers before it judges."""

    async def cluster(self, name: ClusterName) -> ClusterFacts | None:
        """Return a cluster."""
        ...

    async def keys(self, cluster: ClusterFacts) -> Keyset:
        """Return the keys of the cluster's issuer; raises `Upstream` where they cannot be had."""
        ...

    async def pod(self, cluster: ClusterName, uid: str) -> PodFacts | None:
        """Return a pod by its UID."""
        ...

    async def association(
        self, cluster: ClusterName, namespace: Namespace, service_account: ServiceAccountName
    ) -> Association | None:
        """Return the association of a service account."""
        ...

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        ...

    def session_id(self) -> str:
        """Return a fresh UUID."""
        ...


def eks_auth(world: World, assume: Assume) -> Source:
    """Return the source behind AssumeRoleForPodIdentity. It raises `ServiceError` with EKS Auth's codes."""

    async def gather(ask: Ask) -> Facts:
        assert ask.cluster is not None
        assert ask.token is not None
        cluster = await world.cluster(ask.cluster)
        if cluster is None:
            raise ServiceError("ResourceNotFoundException", f"No cluster found for name: {ask.cluster}.", status=404)
        keys = await world.keys(cluster)
        caller = identify(ask.token, cluster=cluster, keys=keys, now=world.now())
        claims = caller.claims.kubernetes
        assert claims is not None, "identify believes only tokens that are bound to a pod"
        assert claims.pod_uid is not None
        return Facts(
            cluster=cluster,
            caller=caller,
            pod=await world.pod(cluster.name, claims.pod_uid),
            association=await world.association(cluster.name, claims.namespace, claims.service_account),
            session_id=world.session_id(),
        )

    async def hand_out(ask: Ask, facts: Facts, grant: Grant) -> Issued:
        assert facts.association is not None, "decide refuses where there is none"
        return await issue(grant, facts.association, assume)

    source = decided(gather, decide, hand_out)

    async def answered(ask: Ask) -> Issued:
        try:
            return await source(ask)
        except BadToken as fault:
            raise _log(fault.reason, _token_error(ask, fault, world.now())) from None
        except Refused as fault:
            raise _log(fault.refusal.reason, _refusal_error(fault)) from None
        except ServiceError as fault:
            if fault.code in STATUS_OF:
                raise
            raise _log(fault.code, _issuing_error(fault)) from None
        except Upstream as fault:
            error = ServiceError("ServiceUnavailableException", _UNAVAILABLE, status=503, hint=fault.message)
            raise _log("upstream", error) from None

    return answered


def _log(reason: str, error: ServiceError) -> ServiceError:
    """Return the error, once the operator can read the real reason."""
    fields = {"reason": reason, "code": error.code, "why": error.hint or error.message}
    log.warning("eks_auth.refused", extra={"fields": fields})
    return error


def _token_error(ask: Ask, fault: BadToken, now: float) -> ServiceError:
    if fault.reason != "expired":
        return ServiceError(
            "InvalidTokenException", f"The token included in the request is not valid: {fault.message}."
        )
    assert ask.token is not None
    expired = int(split(ask.token.reveal()).payload["exp"])  # of the form that `verify` has found it to be
    return ServiceError(
        "ExpiredTokenException",
        f"The token included in the request is expired: current date/time {_iso(now)} must be before the "
        f"expiration date/time {_iso(expired)}",
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refusal_error(fault: Refused) -> ServiceError:
    if fault.refusal.reason == "no-association":
        return ServiceError("ResourceNotFoundException", _NO_ASSOCIATION, status=404, hint=fault.message)
    return ServiceError("InvalidTokenException", f"The token included in the request is not valid: {fault.message}.")


def _issuing_error(fault: ServiceError) -> ServiceError:
    """Return what EKS Auth says when STS did not issue: only a passing trouble may be tried again."""
    if fault.status >= 500:
        return ServiceError("ServiceUnavailableException", _UNAVAILABLE, status=503, hint=fault.message)
    if fault.status == 429 or fault.code == "Throttling":
        return ServiceError("ThrottlingException", "Rate exceeded", status=429, hint=fault.message)
    return ServiceError("AccessDeniedException", _UNAUTHORIZED, hint=fault.message)

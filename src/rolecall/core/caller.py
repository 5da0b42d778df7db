"""Who is asking, and how we know. One type per way of knowing."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.core.records import ContainerFacts, PodFacts
from rolecall.core.tokens.claims import VerifiedClaims


@dataclass(frozen=True, slots=True)
class OnNode:
    """Something on this node: all that IMDS can know."""

    node: str


@dataclass(frozen=True, slots=True)
class AtPodIp:
    """Whoever sends from the address of this running pod."""

    address: str
    pod: PodFacts

    @property
    def id(self) -> str:
        """What no other pod is called, now or later."""
        return self.pod.uid


@dataclass(frozen=True, slots=True)
class AtContainerIp:
    """Whoever sends from the address of this running container, which no pod is known to hold."""

    address: str
    container: ContainerFacts

    @property
    def id(self) -> str:
        """What no other container is called, now or later."""
        return self.container.id


@dataclass(frozen=True, slots=True)
class HoldsToken:
    """The holder of a service-account token whose signature and claims were verified."""

    claims: VerifiedClaims


@dataclass(frozen=True, slots=True)
class NamedByObject:
    """A Kubernetes object names the service account; the API server vouches for the object."""

    kind: str
    namespace: Namespace
    service_account: ServiceAccountName


Caller = OnNode | AtPodIp | AtContainerIp | HoldsToken | NamedByObject

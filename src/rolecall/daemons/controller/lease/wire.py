"""The shape of a Lease (coordination.k8s.io/v1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from rolecall.edges.kube.wire import Decoder, HasMeta
from rolecall.errors import Upstream


class _LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(HasMeta, frozen=True):
    spec: _LeaseSpec = _LeaseSpec()


_LEASE = Decoder[_Lease](_Lease)


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease (coordination.k8s.io/v1). What makes two of them the same record is everything but the version."""

    version: str
    holder: str
    seconds: int
    acquired: str
    renewed: str
    transitions: int

    @property
    def record(self) -> tuple[str, int, str, str, int]:
        """What its holder wrote."""
        return self.holder, self.seconds, self.acquired, self.renewed, self.transitions


def read_lease(body: bytes | bytearray) -> Lease:
    """Return the Lease in an answer; raises `Upstream`."""
    found = _LEASE(body)
    if not found.metadata.resource_version:
        raise Upstream("the API server's answer is no Lease")
    spec = found.spec
    times = spec.acquire_time or "", spec.renew_time or ""
    return Lease(
        found.metadata.resource_version,
        spec.holder_identity or "",
        spec.lease_duration_seconds or 0,
        *times,
        spec.lease_transitions or 0,
    )


def new_lease(namespace: str, name: str, lease: Lease) -> bytes:
    """Return the Lease to create, or, with its version, to put in the place of the one that has it."""
    meta = {"name": str(name), "namespace": str(namespace)} | (
        {"resourceVersion": lease.version} if lease.version else {}
    )
    spec = {
        "holderIdentity": lease.holder,
        "leaseDurationSeconds": lease.seconds,
        "acquireTime": lease.acquired or None,
        "renewTime": lease.renewed or None,
        "leaseTransitions": lease.transitions,
    }
    return msgspec.json.encode(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
    )


def micro_time(seconds: float) -> str:
    """Return a MicroTime: UTC, six digits behind the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""What a pod's manifest would say: how it is to have its role, its annotations, its container's variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import click

from rolecall.core.injection import Generation
from rolecall.daemons.local_aws.apiserver.wire import Proxy
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam

Via = Literal["pod-identity", "irsa", "kube2iam", "kiam", "metadataproxy", "host-role"]
_CONTAINER = "metadataproxy"


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod as it was asked for. `via` is None where the service account decides how it has its role."""

    via: Via | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def generation(self) -> Generation | None:
        """The generation that the webhooks are to inject; None where they are to choose."""
        return self.via if self.via in ("pod-identity", "irsa") else None

    @property
    def proxy(self) -> Proxy | None:
        """The proxy that stands before the pod's metadata service, if one does."""
        return self.via if self.via in ("kube2iam", "kiam", "metadataproxy") else None

    @property
    def read_by_proxy(self) -> dict[str, str]:
        """The container's variables that a proxy reads; the others are nobody's business."""
        return {name: value for name, value in self.environment.items() if name.startswith("IAM_")}


def pod_spec(via: Via | None, role: str | None, annotations: Sequence[str], variables: Sequence[str]) -> PodSpec:
    """Return the pod of a command line; raises `click.UsageError` for what nobody would read."""
    annotated, environment = _pairs(annotations, "--annotation"), _pairs(variables, "--env")
    if annotated and via not in ("kube2iam", "kiam"):
        raise click.UsageError("--annotation is read by a proxy: add --via kube2iam or --via kiam")
    if role is not None:
        if via == _CONTAINER:
            environment.setdefault("IAM_ROLE", role)
        elif via in ("kube2iam", "kiam"):
            annotated.setdefault(Kube2iam().role_key, role)
        else:
            raise click.UsageError(
                "--role is what a proxy reads: add --via kube2iam, kiam or metadataproxy. Pod Identity and IRSA find "
                "the role by the service account: rolecall association create, rolecall serviceaccount annotate"
            )
    return PodSpec(via, annotated, environment)


def _pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """Return the pairs of ``NAME=VALUE``, the last of each name."""
    for text in texts:
        if not text.partition("=")[0] or "=" not in text:
            raise click.UsageError(f"{flag} {text[:80]!r} is not NAME=VALUE")
    return {text.partition("=")[0]: text.partition("=")[2] for text in texts}

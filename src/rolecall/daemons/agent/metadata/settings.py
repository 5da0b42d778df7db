"""What the metadata door is told, as values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rolecall.daemons.agent.metadata.docker_flags import DockerSettings
from rolecall.edges.tls import TlsFiles
from rolecall.mechanisms.imds.documents import PRESETS
from rolecall.mechanisms.metadata_proxy.deny import DenyDialect
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.kube2iam import Kube2iamDialect
from rolecall.mechanisms.metadata_proxy.metadataproxy import MetadataproxyDialect
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam

Name = Literal["deny", "kube2iam", "kiam", "metadataproxy", "host-role"]
BY_PODS = frozenset({"kube2iam", "kiam"})
"""The dialects that know a caller as a pod, and so need to watch this node's."""
VERSION_KEY = "rolecall.dev/imds-version"
"""A namespace's annotation: ``required`` shuts its pods out of version 1."""


@dataclass(frozen=True, slots=True)
class KiamServerSettings:
    """kiam's server, which alone knows the pods and assumes roles: its URL, and what the agent shows it."""

    url: str
    tls: TlsFiles
    token_file: Path | None


@dataclass(frozen=True, slots=True)
class MetadataSettings:
    """Everything the metadata door is told.

    `required`: version 2 of the protocol only. `hops` is how far the reply with a session token travels. `documents`
    names a preset of `rolecall.mechanisms.imds.documents`; empty: what is usual in the dialect. `discover_base` and
    `discover_default` have the node's own service asked at the start. `prefetch` is in roles a second. `every_node`:
    where the node is not known, the pods of all are watched. `upstream` is where the node's documents are, "" where
    AWS's SDKs look for them.
    """

    dialect: Name = "deny"
    hosts: tuple[str, ...] = ()
    port: int = 8181
    required: bool = False
    hops: int = 1
    documents: str = ""
    kube2iam: Kube2iam = field(default_factory=Kube2iam)
    kiam: Kiam = field(default_factory=Kiam)
    discover_base: bool = False
    discover_default: bool = False
    prefetch: float = 0.0
    debug: bool = False
    every_node: bool = False
    docker: DockerSettings = field(default_factory=DockerSettings)
    upstream: str = ""
    kiam_server: KiamServerSettings | None = None

    @property
    def watches_pods(self) -> bool:
        """Whether the agent itself knows who asks, by a watch."""
        return self.dialect in BY_PODS and self.kiam_server is None

    @property
    def assumes(self) -> bool:
        """Whether roles are assumed for those who ask, so that the agent needs credentials of its own."""
        return self.watches_pods or self.dialect == "metadataproxy"

    @property
    def asks_namespaces(self) -> bool:
        """Whether a decision cannot be made without the namespace's annotations."""
        return self.dialect == "kiam" or (self.dialect == "kube2iam" and self.kube2iam.restrictions)

    def kiam_manners(self, rules: Kiam) -> Dialect:
        """Return kiam's dialect by these rules of a server; which documents pods may read is the agent's own word."""
        return KiamDialect(replace(rules, allow_route=self.kiam.allow_route))

    def in_partition(self, partition: str) -> MetadataSettings:
        """Return these settings for a partition: a container names a role, and none."""
        return replace(self, docker=replace(self.docker, rules=replace(self.docker.rules, partition=partition)))

    def manners(self) -> Dialect:
        """Return the dialect; raises `BadInput` for an expression in its rules that cannot be read."""
        if self.dialect == "kiam":
            return KiamDialect(self.kiam)
        if self.dialect == "kube2iam":
            return Kube2iamDialect(self.kube2iam, self._allowed("legacy-read"))
        if self.dialect == "metadataproxy":
            return MetadataproxyDialect(self.docker.rules, self._allowed("legacy-read"))
        return DenyDialect(self._allowed("placement"))

    def keys(self) -> frozenset[str]:
        """Return the annotations that are read, of pods and of namespaces."""
        k2i, kiam = self.kube2iam, self.kiam
        of_kube2iam = {k2i.role_key, k2i.external_id_key, k2i.namespace_key}
        of_kiam = {kiam.role_key, kiam.external_id_key, kiam.session_key, kiam.namespace_key}
        return frozenset({VERSION_KEY} | (of_kiam if self.dialect == "kiam" else of_kube2iam))

    def of_the_node(self) -> Collection[str]:
        """Return the documents that pods may read beside the node's role."""
        return self._allowed("legacy-read")

    def _allowed(self, usual: str) -> Collection[str]:
        return PRESETS[self.documents or usual]

"""Where a question goes, by what its token says of itself. Nothing here believes it: EKS Auth verifies the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rolecall.core.names import ClusterName
from rolecall.core.source import Ask, Issued, Source
from rolecall.daemons.agent.config import read_clusters
from rolecall.errors import BadToken
from rolecall.mechanisms.pod_identity import door


class ClusterByIssuer:
    """A source that chooses the cluster by the issuer that a token names."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source = source
        self._path = path

    async def __call__(self, ask: Ask) -> Issued:
        """Ask for the token's cluster; raises `BadToken` for an issuer that is no cluster's."""
        issuer = door.payload_of(ask).get("iss")
        cluster: ClusterName | None = None
        if isinstance(issuer, str) and issuer:
            cluster = read_clusters(self._path).get(issuer)
        if cluster is None:
            raise BadToken(
                "unknown-issuer", f"the token's issuer {str(issuer)[:200]!r} is not the issuer of any cluster here"
            )
        return await self._source(replace(ask, cluster=cluster))


class OnThisNode:
    """A source that refuses tokens of pods of other nodes: a stolen token is of use on its own node only.

    A token that names no node (Kubernetes before 1.30 wrote none) passes; upstream judges it as ever.
    """

    def __init__(self, source: Source, node: str) -> None:
        self._source = source
        self._node = node

    async def __call__(self, ask: Ask) -> Issued:
        """Ask for a token of this node; raises `BadToken` for one that names another."""
        named = _node(door.payload_of(ask))
        if named is not None and named != self._node:
            sentence = f"the token belongs to a pod of node {named[:200]!r}; this agent serves {self._node!r}"
            raise BadToken("other-node", sentence)
        return await self._source(ask)


def _node(claims: Mapping[str, Any]) -> str | None:
    """Return the node that the claims name; an empty text, which no node is called, where it is no name."""
    found: Any = claims
    for name in ("kubernetes.io", "node", "name"):
        if not isinstance(found, Mapping):
            return ""
        if name not in found:
            return None
        found = found[name]
    return found if isinstance(found, str) else ""

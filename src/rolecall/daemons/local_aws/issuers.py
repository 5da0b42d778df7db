"""The issuers of the plane's own clusters: their keys in memory, their documents on open pages.

Filled at start and whenever a cluster is made or deleted; answering never touches the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from rolecall.core.exchange import Reply, Request
from rolecall.core.names import ClusterName
from rolecall.core.tokens.keys import Keyset, parse_jwks
from rolecall.daemons.local_aws.signing_keys import SigningKey, discovery

_JSON = (("content-type", "application/json"), ("cache-control", "max-age=604800"))


@dataclass(frozen=True, slots=True)
class Issuer:
    """One cluster's issuer: its URL, its key, and the key set as others read it."""

    cluster: ClusterName
    url: str
    key: SigningKey
    keyset: Keyset


class Issuers:
    """All issuers of the plane. `changed` is called with issuer URL → cluster name after every change."""

    def __init__(self, changed: Callable[[dict[str, str]], None]) -> None:
        self._by_cluster: dict[str, Issuer] = {}
        self._pages: dict[str, bytes] = {}
        self._changed = changed

    def add(self, cluster: ClusterName, url: str, key: SigningKey) -> None:
        """Serve an issuer from now on."""
        jwks = key.jwks()
        self._by_cluster[cluster] = Issuer(cluster, url, key, parse_jwks(jwks))
        path = urlsplit(url).path
        self._pages[f"{path}/.well-known/openid-configuration"] = discovery(url)
        self._pages[f"{path}/keys"] = jwks
        self._tell()

    def drop(self, cluster: ClusterName) -> None:
        """Stop serving a deleted cluster's issuer: its tokens cannot be verified any more."""
        issuer = self._by_cluster.pop(cluster, None)
        if issuer is not None:
            path = urlsplit(issuer.url).path
            del self._pages[f"{path}/.well-known/openid-configuration"], self._pages[f"{path}/keys"]
            self._tell()

    def of_cluster(self, cluster: str) -> Issuer | None:
        """Return a cluster's issuer."""
        return self._by_cluster.get(cluster)

    def keyset(self, url: str) -> Keyset | None:
        """Return the keys of an issuer of ours, or None for somebody else's."""
        return next((issuer.keyset for issuer in self._by_cluster.values() if issuer.url == url), None)

    def page(self, request: Request) -> Reply | None:
        """Answer a discovery or key page, which needs no signature; None for any other path."""
        body = self._pages.get(request.path)
        if body is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return Reply(405, b'{"message":"use GET"}', (*_JSON, ("allow", "GET, HEAD")))
        return Reply(200, body, _JSON)

    def _tell(self) -> None:
        self._changed({issuer.url: str(issuer.cluster) for issuer in self._by_cluster.values()})

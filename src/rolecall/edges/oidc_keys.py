"""The one fetcher of issuers' keys: OIDC discovery, then the key set (OpenID Connect Discovery 1.0 §4).

Only issuers that the operator registered are asked; nothing in a token's header ever names an address. Every
fetch is bounded: https (http on this machine only), no redirects, no link-local or private addresses unless
configured, one MiB, five seconds. The address that was checked is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from rolecall.core.tokens.keys import LONGEST_JWKS, Keyset, parse_jwks
from rolecall.edges.clock import Clock
from rolecall.errors import BadInput, Upstream

SECONDS = 5.0
FRESH_FOR = 300.0
COOLDOWN = 10.0
"""Seconds between two fetches for one issuer, however many tokens name keys that it does not have."""
_MANDATORY = ("response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported")


@dataclass(slots=True)
class _Held:
    keyset: Keyset
    fetched_at: float


class OidcKeys:
    """Keys by issuer, held for five minutes and fetched again sooner for a key id that is not among them.

    `allow_private` are host names that may have private addresses.
    """

    def __init__(
        self, *, clock: Clock, allow_private: frozenset[str] = frozenset(), ca_file: str | None = None
    ) -> None:
        self._clock = clock
        self._allow_private = allow_private
        self._ca_file = ca_file
        self._held: dict[str, _Held] = {}
        self._tried: dict[str, float] = {}
        self._failed: dict[str, Upstream] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def keyset(self, issuer: str, *, kid: str | None = None) -> Keyset:
        """Return the keys of a registered issuer; raises `Upstream` where there are none to be had.

        A fetch that fails never replaces keys that are held.
        """
        async with self._locks.setdefault(issuer, asyncio.Lock()):
            held = self._held.get(issuer)
            now = self._clock.monotonic()
            wanted = held is not None and (kid is None or kid in held.keyset.keys)
            if held is not None and wanted and now - held.fetched_at < FRESH_FOR:
                return held.keyset
            if now - self._tried.get(issuer, -COOLDOWN) >= COOLDOWN:
                await self._fetch(issuer, now)
            held = self._held.get(issuer)
            if held is not None:
                return held.keyset
            raise self._failed[issuer].with_traceback(None)

    async def _fetch(self, issuer: str, now: float) -> None:
        self._tried[issuer] = now
        try:
            async with asyncio.timeout(SECONDS):
                keyset = await asyncio.to_thread(self._download, issuer)
        except TimeoutError:
            self._failed[issuer] = Upstream(f"the issuer {issuer} did not answer within {SECONDS:g} seconds")
        except Upstream as fault:
            self._failed[issuer] = fault
        else:
            self._held[issuer] = _Held(keyset, now)

    def _download(self, issuer: str) -> Keyset:
        document = _json(self._get(f"{issuer}/.well-known/openid-configuration"), issuer)
        if document.get("issuer") != issuer:
            raise Upstream(f"the discovery document at {issuer} names another issuer")
        missing = [name for name in ("jwks_uri", *_MANDATORY) if not document.get(name)]
        if missing:
            raise Upstream(f"the discovery document of {issuer} lacks {', '.join(missing)}")
        try:
            keyset = parse_jwks(self._get(str(document["jwks_uri"])))
        except BadInput as fault:
            raise Upstream(f"the keys of {issuer} cannot be used: {fault.message}") from None
        if not keyset.keys:
            raise Upstream(f"the issuer {issuer} publishes no key that can be used")
        return keyset

    def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in ("https", "http") or not host:
            raise Upstream(f"{url[:200]} is not an https URL")
        address = self._address(host, parts)
        connection = _connection(parts, host, address, self._ca_file)
        try:
            connection.request("GET", parts.path or "/", headers={"Host": parts.netloc, "Accept": "application/json"})
            response = connection.getresponse()
            body = response.read(LONGEST_JWKS + 1)
        except (OSError, http.client.HTTPException) as fault:
            raise Upstream(f"{host} could not be asked for keys: {type(fault).__name__}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise Upstream(f"{url[:200]} answered with status {response.status}; redirects are not followed")
        if len(body) > LONGEST_JWKS:
            raise Upstream(f"{url[:200]} is larger than {LONGEST_JWKS} bytes")
        return body

    def _address(self, host: str, parts: SplitResult) -> str:
        """Return an address of `host` that may be connected to."""
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            raise Upstream(f"the issuer's host {host} has no address") from None
        address = str(found[0][4][0])
        ip = ipaddress.ip_address(address.partition("%")[0])
        if parts.scheme == "http" and not ip.is_loopback:
            raise Upstream(f"{host} is not this machine: its issuer must use https")
        if not ip.is_global and not ip.is_loopback and host not in self._allow_private:
            raise Upstream(f"the issuer's host {host} has a private address; allow it with --allow-private-issuer")
        return address


def _connection(parts: SplitResult, host: str, address: str, ca_file: str | None) -> http.client.HTTPConnection:
    """Return a connection to exactly `address`, whose certificate must be for `host`."""
    if parts.scheme == "http":
        return http.client.HTTPConnection(address, parts.port or 80, timeout=SECONDS)
    connection = http.client.HTTPSConnection(address, parts.port or 443, timeout=SECONDS)
    try:
        plain = socket.create_connection((address, parts.port or 443), timeout=SECONDS)
        connection.sock = ssl.create_default_context(cafile=ca_file).wrap_socket(plain, server_hostname=host)
    except OSError as fault:
        raise Upstream(f"{host} could not be reached: {type(fault).__name__}") from None
    return connection


def _json(text: bytes, issuer: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Upstream(f"the discovery document of {issuer} is not a JSON object")
    return found

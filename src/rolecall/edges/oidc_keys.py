"""The one fetcher of issuers' keys: OIDC discovery, then the key set (OpenID Connect Discovery 1.0 §4).

Only issuers that the operator registered are asked; nothing in a token's header ever names an address. What a
fetch may not do is in `rolecall.edges.guarded_fetch`; one takes five seconds at most, for both documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from rolecall.core.tokens.keys import LONGEST_JWKS, Keyset, parse_jwks
from rolecall.edges.clock import Clock, within
from rolecall.edges.guarded_fetch import GuardedFetcher, Resolve
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

    `allow_private` are host names that may have private addresses, `ca_file` replaces the system's
    certificates, `resolve` its resolver; `seconds` bounds a fetch.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        allow_private: frozenset[str] = frozenset(),
        ca_file: str | None = None,
        resolve: Resolve | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._clock = clock
        self._fetcher = GuardedFetcher(allow_private=allow_private, ca_file=ca_file, resolve=resolve)
        self._seconds = seconds
        self._held: dict[str, _Held] = {}
        self._tried: dict[str, float] = {}
        self._failed: dict[str, Upstream] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}

    async def keyset(self, issuer: str, *, kid: str | None = None) -> Keyset:
        """Return the keys of a registered issuer; raises `Upstream` where there are none to be had.

        A fetch is shared by all who wait for it, and is no one caller's to cancel. One that fails never
        replaces keys that are held.
        """
        held = self._held.get(issuer)
        now = self._clock.monotonic()
        if held is not None and now - held.fetched_at < FRESH_FOR and (not kid or kid in held.keyset.keys):
            return held.keyset
        fetch = self._fetching.get(issuer)
        if fetch is None and now - self._tried.get(issuer, -COOLDOWN) >= COOLDOWN:
            fetch = self._fetching[issuer] = asyncio.create_task(self._fetch(issuer, now), name="oidc.fetch")
        if fetch is not None:
            await asyncio.shield(fetch)
        held = self._held.get(issuer)
        if held is not None:
            return held.keyset
        raise self._failed[issuer].with_traceback(None)

    async def _fetch(self, issuer: str, now: float) -> None:
        self._tried[issuer] = now
        self._failed[issuer] = Upstream(f"the keys of {issuer} could not be fetched")
        try:
            keyset = await within(self._clock, self._seconds, self._download(issuer))
        except TimeoutError:
            self._failed[issuer] = Upstream(f"the issuer {issuer} did not answer within {self._seconds:g} seconds")
        except Upstream as fault:
            self._failed[issuer] = fault
        except Exception as fault:  # noqa: BLE001 - whatever its documents brought about, it is this issuer's failure
            self._failed[issuer] = Upstream(f"the documents of {issuer} cannot be read: {type(fault).__name__}")
        else:
            self._held[issuer] = _Held(keyset, now)
        finally:
            del self._fetching[issuer]

    async def _download(self, issuer: str) -> Keyset:
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        fetched = await self._fetcher.get(url, longest=LONGEST_JWKS, loopback=True)
        document = _json(fetched.body, issuer)
        if document.get("issuer") != issuer:
            raise Upstream(f"the discovery document at {issuer} names another issuer")
        missing = [name for name in ("jwks_uri", *_MANDATORY) if not document.get(name)]
        if missing:
            raise Upstream(f"the discovery document of {issuer} lacks {', '.join(missing)}")
        # Only a document from this machine may send us to this machine.
        uri = str(document["jwks_uri"])
        answer = await self._fetcher.get(uri, longest=LONGEST_JWKS, loopback=fetched.loopback)
        try:
            keyset = parse_jwks(answer.body)
        except BadInput as fault:
            raise Upstream(f"the keys of {issuer} cannot be used: {fault.message}") from None
        if not keyset.keys:
            raise Upstream(f"the issuer {issuer} publishes no key that can be used")
        return keyset


def _json(text: bytes, issuer: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Upstream(f"the discovery document of {issuer} is not a JSON object")
    return found

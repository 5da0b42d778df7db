"""The cluster's service accounts: what their annotations say, as a watch has it, and one look where that is not enough.

Of each only the annotations are kept that may decide something; most have none, and cost their name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from sys import intern
from types import MappingProxyType
from typing import NamedTuple, Protocol

from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.daemons.webhook.sources.look_ups import LookUpRules, LookUps
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import METADATA, ApiError, Query
from rolecall.edges.kube.watch import Watch, Watched
from rolecall.edges.kube.wire import Decoder, HasMeta
from rolecall.errors import BadName

PATH = "/api/v1/serviceaccounts"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_LONGEST = 2048  # characters of an annotation that is kept: a role's ARN and an audience are far shorter
_decode = Decoder[HasMeta](HasMeta)


class Account(NamedTuple):
    """A service account as far as it is kept."""

    namespace: str
    name: str
    annotations: Mapping[str, str]


class Gets(Protocol):
    """What reads one object."""

    async def get(self, path: str, query: Query = (), *, accept: str = ..., timeout: float = ...) -> bytearray:
        """Return it; raises `ApiError`."""
        ...


class Accounts:
    """A watch fills it; `listed` is set once that was done. `prefix` is the annotations' domain.

    `watch_with` must be given the watch before `run`.
    """

    name = "service-accounts"

    def __init__(self, api: Gets, *, prefix: str, clock: Clock, rules: LookUpRules) -> None:
        self._api, self._prefix = api, f"{prefix}/"
        self._held: dict[str, dict[str, Mapping[str, str]]] = {}
        self._number = 0
        self._watch: Watch[HasMeta, Account] | None = None
        self.look_ups = LookUps(self._read, clock=clock, rules=rules)
        self.listed = asyncio.Event()

    def __len__(self) -> int:
        return self._number

    @property
    def watched(self) -> Watched[HasMeta, Account]:
        """What to watch: only metadata, of all namespaces."""
        return Watched(PATH, HasMeta, self.kept, metadata_only=True)

    def watch_with(self, watch: Watch[HasMeta, Account]) -> None:
        """Be told of changes by this watch."""
        self._watch, self.listed = watch, watch.listed

    @property
    def fault(self) -> str:
        """Why changes do not arrive now, if they do not."""
        return self._watch.failing if self._watch is not None else ""

    @property
    def live(self) -> bool:
        """Whether changes arrive now."""
        return self._watch is not None and self._watch.streaming

    async def run(self) -> None:
        """Watch, for ever."""
        assert self._watch is not None
        await self._watch.run()

    async def close(self) -> None:
        """End the look-ups."""
        await self.look_ups.close()

    def find(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a service account's annotations as far as they decide; None where it is not known."""
        there = self._held.get(namespace)
        return None if there is None else there.get(name)

    async def look_up(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Ask the API server for it, as it is now; None where there is none. Raises `Upstream`."""
        return await self.look_ups(namespace, name)

    def kept(self, found: HasMeta) -> Account:
        """Return what is kept of one."""
        meta = found.metadata
        chosen = {
            intern(key): value
            for key, value in (meta.annotations or {}).items()
            if key.startswith(self._prefix) and len(value) <= _LONGEST
        }
        return Account(intern(meta.namespace), meta.name, chosen or _NOTHING)

    def replace(self, objects: Sequence[Account]) -> None:
        """Hold exactly these."""
        held: dict[str, dict[str, Mapping[str, str]]] = {}
        for one in objects:
            held.setdefault(one.namespace, {})[one.name] = one.annotations
        self._held, self._number = held, sum(map(len, held.values()))

    def put(self, found: Account) -> None:
        """Hold this one."""
        there = self._held.setdefault(found.namespace, {})
        self._number += found.name not in there
        there[found.name] = found.annotations

    def drop(self, found: Account) -> None:
        """Hold this one no longer."""
        there = self._held.get(found.namespace, {})
        if there.pop(found.name, None) is not None:
            self._number -= 1
            if not there:
                del self._held[found.namespace]

    async def _read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        try:
            Namespace.parse(namespace), ServiceAccountName.parse(name)
        except BadName:
            return None  # no account can be called that; in a path it could mean anything
        try:
            body = await self._api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}", accept=METADATA)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return self.kept(_decode(body)).annotations

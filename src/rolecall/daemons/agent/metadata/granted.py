"""What was granted becomes credentials: held for as long as they are good, and forgotten with the pod that had them.

Who may have what is decided before, for every question. So what is held here is found by all that was granted, for one
caller; whoever is granted something else does not find it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from rolecall.core.grant import Hop
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges import entropy
from rolecall.edges.cache import CredentialCache, Told
from rolecall.edges.cache_rules import CacheRules
from rolecall.edges.clock import Clock
from rolecall.edges.flights import FlightRules, Key, key_of
from rolecall.edges.limits import PerSource
from rolecall.edges.telemetry import Log
from rolecall.mechanisms.metadata_proxy.issue import Assume, issue

_MOST_PODS, _MOST_KEYS = 4096, 16


def sts_source(assume: Assume) -> Source:
    """Return the source that assumes the granted role for the caller of an ask."""

    async def source(ask: Ask) -> Issued:
        assert ask.grant is not None, "the corridor asks with it"
        assert ask.caller is not None, "the corridor asks with it"
        return await issue(ask.grant, ask.caller, assume)

    return source


async def nothing_assumed(hop: Hop) -> Issued:
    """Assume nothing: of a door at which no role is given, nobody gets here."""
    raise AssertionError(f"nobody is granted {hop.role} at this door")


class Granted:
    """A cache of granted sessions, which knows whose they are. `told` hears of every call upstream."""

    def __init__(
        self, source: Source, *, size: int, qps: float, clock: Clock, log: Log, told: Told | None = None,
        dice: Callable[[], float] = entropy.dice,
    ) -> None:  # fmt: skip
        rules = CacheRules(size=size, service_qps=qps, flights=FlightRules(upstream="STS"))
        self.cache = CredentialCache(
            source,
            clock=clock,
            dice=dice,
            rules=rules,
            per_source=PerSource(rate=50, burst=500, clock=clock),
            log=log,
            told=told,
        )
        self._keys: OrderedDict[str, OrderedDict[Key, None]] = OrderedDict()

    def held(self, ask: Ask) -> Issued | None:
        """Return what may be served now, without waiting."""
        return self.cache.held(ask)

    async def __call__(self, ask: Ask) -> Issued:
        """Return credentials; raises as `CredentialCache` does."""
        if ask.caller is not None:
            self._note(ask.caller.id, key_of(ask))
        return await self.cache(ask)

    def forget(self, caller: str) -> None:
        """Forget what a pod or container had, also what is on its way."""
        keys = self._keys.pop(caller, None)
        if keys:
            self.cache.forget(tuple(keys))

    def _note(self, caller: str, key: Key) -> None:
        """Remember what is held for a caller. The oldest give way: what they had ends by itself."""
        keys = self._keys.setdefault(caller, OrderedDict())
        keys[key] = None
        keys.move_to_end(key)
        self._keys.move_to_end(caller)
        if len(keys) > _MOST_KEYS:
            keys.popitem(last=False)
        if len(self._keys) > _MOST_PODS:
            self._keys.popitem(last=False)

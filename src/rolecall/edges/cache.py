"""A source in front of a source: it holds credentials, and renews them before anything ends.

- **True LRU.** A hit counts as use; with the cache full, the entry unused longest goes.
- **One upstream call per question**, and failures are remembered briefly: `rolecall.edges.flights`.
- **Renewal comes ahead of need**, at a bounded rate, and only for what was asked for since the last time.
- **A valid credential is never lost** to an upstream that fails, and never served past its end.

Entries are found by digests; the token itself is kept only inside its `Secret`, to renew with. What ends a
credential is told in wall-clock time, so that is what ends an entry; but a wall clock can be set, so an entry
also ends after the life that it had when it came, and all waiting is measured in monotonic time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Protocol

from rolecall.core.freshness import milestones
from rolecall.core.source import Ask, Issued, Source
from rolecall.edges.cache_entry import Census, Entries, Entry, Held, Kept, census, held, kept, outlives
from rolecall.edges.cache_rules import CacheCounters, CacheRules
from rolecall.edges.clock import Clock
from rolecall.edges.flights import Flights, Key, Outcome, code_of, key_of
from rolecall.edges.limits import PerSource
from rolecall.edges.metrics import count
from rolecall.edges.renewer import Renewer
from rolecall.edges.telemetry import Log
from rolecall.edges.verdicts import is_ambiguous, is_definitive

Told = Callable[[Ask, Outcome, bool], None]
"""Told of what an upstream call brought: the ask, the outcome, and whether it was a renewal. It must not raise."""

Gone = Callable[[Key], None]
"""Told of each key under which nothing is held any more. It must not raise."""


class Recall(Protocol):
    """Has what an earlier cache held, which may be handed out again."""

    def take(self, token: bytes, ask: Ask) -> Kept | None:
        """Return what is kept for the token of this digest, once, if it may be handed out."""
        ...

    def forget(self, association_ids: Collection[str] | None = None) -> None:
        """Forget what was issued by these associations, or all of it."""
        ...


def _never(_ask: Ask) -> float | None:
    return None


class CredentialCache:
    """A `Source` around a source. `start` begins the background renewals, `close` ends everything.

    `token_ends` reads, without believing it, when the token of an ask is over: an entry is dropped then.
    `per_source` limits how many questions one peer may send upstream; cached answers are not limited.
    `told` hears of every outcome of an upstream call; `gone`, which may be set, of every entry that ends. `recall`,
    which may be set, is asked before upstream is. `changes` grows with each change of what is held. Raises what
    `Flights.ask` raises.
    """

    def __init__(
        self,
        source: Source,
        *,
        clock: Clock,
        dice: Callable[[], float],
        rules: CacheRules | None = None,
        token_ends: Callable[[Ask], float | None] = _never,
        per_source: PerSource | None = None,
        log: Log | None = None,
        told: Told | None = None,
    ) -> None:
        self._told = told
        self.rules = rules or CacheRules()
        self.counters = CacheCounters()
        self._clock, self._dice, self._log = clock, dice, log or Log()
        self._token_ends = token_ends
        self._flights = Flights(
            source,
            self._landed,
            clock=clock,
            dice=dice,
            rules=self.rules.flights,
            counters=self.counters,
            remembered=self.rules.size,
            per_source=per_source,
            log=self._log,
        )
        self._entries = Entries(self._entry_gone)
        self._renewer = Renewer(
            self._entries, self._flights,
            clock=clock, dice=dice, rules=self.rules, counters=self.counters, log=self._log,
        )  # fmt: skip
        self._revoked: dict[str, float] = {}
        self._all_revoked = float("-inf")
        self._forgotten: dict[Key, float] = {}
        self.gone: Gone | None = None
        self.recall: Recall | None = None
        self.changes = self._uses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, key: Key) -> Entry | None:
        """Return what is held under a key, whether it may be served or not."""
        return self._entries.get(key)

    def held(self, ask: Ask) -> Issued | None:
        """Return what is held for this ask if it may be served now, without waiting for anything.

        This counts as a hit and as use, and starts a renewal where one is due.
        """
        entry = self._entries.get(key_of(ask))
        return None if entry is None else self.use(entry)

    def use(self, entry: Entry) -> Issued | None:
        """Return what `held` returns, for an entry that was found before; None where it is held no more."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if (now >= entry.calm_until or monotonic >= entry.over_at) and not self._may_serve(entry, now, monotonic):
            return None
        self.counters.hits += 1
        self._uses += 1
        entry.used_at = self._uses
        entry.used = True
        entry.hits += 1
        return entry.issued

    def _may_serve(self, entry: Entry, now: float, monotonic: float) -> bool:
        """Look at an entry that is to be renewed, is over, or is held no more."""
        if self._entries.get(entry.key) is not entry:
            return False
        if entry.is_over(now, monotonic):
            self._entries.drop(entry.key)
            return False
        if now >= entry.times.renew_at and monotonic >= entry.retry_at:
            entry.used = True
            self._renewer.nudge(entry, now)
        return True

    async def __call__(self, ask: Ask) -> Issued:
        """Return credentials: those held, those that an upstream call brings, or the error it brings."""
        issued = self.held(ask)
        if issued is not None:
            return issued
        self.counters.misses += 1
        issued = self._recalled(ask)
        if issued is not None:
            return issued
        return await self._flights.ask(key_of(ask), ask)

    def revoke(self, association_ids: Collection[str]) -> int:
        """Forget what was issued by these associations, also what is on its way; return how many were held.

        The next one who asks is answered by upstream, which knows what holds now.
        """
        now = self._clock.monotonic()
        self._revoked = {key: at for key, at in self._revoked.items() if now - at < self.rules.flights.seconds}
        self._revoked |= dict.fromkeys(association_ids, now)
        gone = [key for key, entry in self._entries.items() if entry.issued.association_id in association_ids]
        for key in gone:
            self._entries.drop(key)
        if self.recall is not None:
            self.recall.forget(association_ids)
        return len(gone)

    def forget(self, keys: Collection[Key]) -> int:
        """Forget what is held for these questions, or on its way; return how many were held."""
        now = self._clock.monotonic()
        self._forgotten = {key: at for key, at in self._forgotten.items() if now - at < self.rules.flights.seconds}
        self._forgotten |= dict.fromkeys(keys, now)
        held = [key for key in keys if key in self._entries]
        for key in held:
            self._entries.drop(key)
        return len(held)

    def revoke_all(self) -> int:
        """Forget everything that is held or on its way; return how many were held."""
        self._all_revoked = self._clock.monotonic()
        held = len(self._entries)
        self._entries.drop_all()
        if self.recall is not None:
            self.recall.forget()
        return held

    def fault(self) -> str:
        """Return what is wrong with the renewer; an empty text where it works, or is not to work."""
        return self._renewer.fault()

    def census(self) -> Census:
        """Return all entries in a few numbers."""
        return census(self._entries.values(), self._clock.now(), self._clock.monotonic())

    def survey(self) -> Iterator[Held]:
        """Yield every entry as it may be shown. The cache must not be used meanwhile."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for entry in self._entries.values():
            if not entry.is_over(now, monotonic):
                yield held(entry, self._renewer.plan_of(entry), now, monotonic)

    def kept(self) -> Iterator[Kept]:
        """Yield every entry that a token alone asks for, for a later cache; the one used last comes last."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for entry in self._entries.by_use():
            if entry.key == (entry.key[0], None, None, "") and not entry.is_over(now, monotonic):
                yield kept(entry, now, monotonic)

    @property
    def failures(self) -> int:
        """How many failures are remembered."""
        return self._flights.remembered

    def forget_failures(self) -> int:
        """Forget all failures: whoever asks next is asked for upstream. Return how many there were."""
        return self._flights.forget_failures()

    def start(self) -> None:
        """Begin renewing in the background. Call it once, inside the running loop."""
        self._renewer.start()

    async def close(self) -> None:
        """End the renewer and all upstream calls; whoever waits for one gets `Upstream`."""
        await self._flights.close()
        await self._renewer.close()

    # --- holding ---------------------------------------------------------------------------------------

    def _entry_gone(self, key: Key) -> None:
        self.changes += 1
        if self.gone is not None:
            self.gone(key)

    def _landed(self, key: Key, ask: Ask, outcome: Outcome, wanted: bool) -> bool:
        """Keep what a call brought, and tell of it; return whether its failure is to be remembered."""
        renewal = key in self._entries
        try:
            return self._keep(key, ask, outcome, wanted)
        finally:
            if self._told is not None:
                self._told(ask, outcome, renewal)

    def _keep(self, key: Key, ask: Ask, outcome: Outcome, wanted: bool) -> bool:
        self._renewer.landed(key)
        entry = self._entries.get(key)
        if not isinstance(outcome, Issued):
            return entry is None or self._drop_or_keep(key, entry, outcome)
        if entry is not None:
            self.counters.renewals += 1
        if entry is not None or wanted:  # one that was evicted while it was renewed has lost its place
            self._store(key, ask, outcome, renewed=entry)
        return False

    def _store(self, key: Key, ask: Ask, issued: Issued, *, renewed: Entry | None) -> None:
        revoked_at = max(self._all_revoked, self._revoked.get(issued.association_id, self._all_revoked))
        revoked_at = max(revoked_at, self._forgotten.get(key, revoked_at))
        if self.rules.size <= 0 or self._flights.launched[key] <= revoked_at:
            return
        now, monotonic = self._clock.now(), self._clock.monotonic()
        kept = renewed if renewed is not None and outlives(renewed, issued, now, monotonic) else None
        issued = issued if kept is None else kept.issued
        times = milestones(now, issued.credentials.expires_at, self.rules.freshness, self._dice())
        token_ends = self._token_ends(ask)
        ends_at = times.dead_at if token_ends is None else min(times.dead_at, token_ends)
        # A renewal is not a use.
        entry = Entry(key, ask, issued, times, ends_at, monotonic + ends_at - now, came_at=monotonic)
        if kept is not None:  # it becomes no younger: neither its end moves, nor its age begins again
            entry.ends_at, entry.over_at, entry.came_at = kept.ends_at, kept.over_at, kept.came_at
        if renewed is not None:
            entry.used, entry.hits, entry.used_at = False, renewed.hits, renewed.used_at
        self._put(entry, monotonic + times.renew_at - now)

    def _put(self, entry: Entry, renew_at: float) -> None:
        if not entry.used_at:  # it is new, which is a use
            self._uses += 1
            entry.used_at = self._uses
        self._entries.put(entry)
        self.changes += 1
        while len(self._entries) > self.rules.size:
            self._entries.drop_oldest()
            self.counters.evictions += 1
        self._renewer.plan(entry, renew_at)

    def _recalled(self, ask: Ask) -> Issued | None:
        """Hold, and return, what an earlier cache held for this ask; upstream is to confirm it as soon as it can."""
        key = key_of(ask)
        if self.recall is None or self.rules.size <= 0 or key != (key[0], None, None, "") or not key[0]:
            return None
        found = self.recall.take(key[0], ask)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if found is None or now >= found.ends_at:
            return None
        times = milestones(now, found.issued.credentials.expires_at, self.rules.freshness, self._dice())
        ends_at = min(found.ends_at, times.dead_at)
        entry = Entry(key, ask, found.issued, replace(times, renew_at=now), ends_at, monotonic + ends_at - now)
        entry.came_at = monotonic
        self.counters.recalled += 1
        self._put(entry, monotonic)
        return found.issued

    def _drop_or_keep(self, key: Key, entry: Entry, error: Exception) -> bool:
        """A renewal failed: the entry stays unless upstream said that it must not be served. Return if dropped."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        count(self.counters.renew_failures, code_of(error))
        entry.last_error = code_of(error)
        self.changes += 1
        if is_ambiguous(error):  # the first one counts: later ones cannot move the end further away
            entry.over_at = min(entry.over_at, monotonic + self.rules.denied_grace)
        if is_definitive(error) or entry.is_over(now, monotonic):
            self._entries.drop(key)
            count(self.counters.dropped, code_of(error))
            self._log.info("cache.dropped", code=code_of(error))
            return True
        wait = self._renewer.plan_again(entry)
        self._log.warning("cache.renewal_failed", code=code_of(error), retry_in=round(wait, 1))
        return False

"""The metadata door's short way: credentials that were asked for before, from the same address, by the same bytes.

Only reading and judging are skipped, and only while nothing has changed that was judged: whoever knows the callers
returns the very same facts for as long as pod, neighbours and namespace are as they were, and equal facts and equal
bytes are judged alike. The cache still says whether the session may be served now, and counts and renews.
"""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Ask, Issued
from rolecall.daemons.agent.metadata.granted import Granted
from rolecall.daemons.agent.metadata.tally import Tally
from rolecall.daemons.agent.metadata.whose import Whose
from rolecall.edges.cache_entry import Entry
from rolecall.edges.clock import Clock
from rolecall.edges.flights import Key, key_of
from rolecall.edges.http_head import DateLine, head_of
from rolecall.mechanisms.metadata_proxy.decide import Facts

MOST, LONGEST = 2048, 4096
"""Requests that are kept; bytes of one."""


@dataclass(slots=True)
class _Known:
    """What a request from an address means. `until` is when its session token ends, in wall-clock time."""

    facts: Facts
    entry: Entry
    issued: Issued
    until: float
    keep: bool
    head: bytes  # but for the date, which follows it
    body: bytes


class HotMetadata:
    """Answers known requests, at most `most`; the one learned first goes first. `answers` counts them."""

    def __init__(self, whose: Whose, granted: Granted, tally: Tally, clock: Clock, most: int = MOST) -> None:
        self._whose, self._cache = whose, granted.cache
        self._tally, self._clock, self._most = tally, clock, most
        self._known: dict[tuple[str, bytes], _Known] = {}
        self._of_key: dict[Key, set[tuple[str, bytes]]] = {}
        self._dated = DateLine()
        self.answers = 0
        self._cache.gone = self._forget

    def __len__(self) -> int:
        return len(self._known)

    def answer(self, raw: bytes, peer: str) -> tuple[bytes, bool] | None:
        """Return the answer's bytes and whether the connection stays; None for bytes that have to be read."""
        known = self._known.get((peer, raw))
        if known is None:
            return None
        now = self._clock.now()
        issued = None
        if now < known.until and self._whose.known(peer) is known.facts:
            issued = self._cache.use(known.entry)
        if issued is not known.issued:  # renewed, too: it is read, and learned, once more
            self._drop((peer, raw))
            return None
        self.answers += 1
        self._tally.hit(peer, known.facts.caller)
        return known.head + self._dated(now) + known.body, known.keep

    def learn(self, request: Request, facts: Facts, ask: Ask, issued: Issued, reply: Reply, until: float) -> None:
        """Keep what a request means that was just answered so."""
        if not 0 < len(request.raw) <= LONGEST or request.method != "GET":
            return
        entry = self._cache.entry(key_of(ask))
        if entry is None or entry.issued is not issued or self._whose.known(request.peer) is not facts:
            return
        keep, name = not request.last, (request.peer, request.raw)
        self._drop(name)
        self._known[name] = _Known(facts, entry, issued, until, keep, head_of(reply, keep=keep), reply.body)
        self._of_key.setdefault(entry.key, set()).add(name)
        while len(self._known) > self._most:
            self._drop(next(iter(self._known)))

    def clear(self) -> None:
        """Know nothing any more: another dialect judges otherwise."""
        self._known.clear()
        self._of_key.clear()

    def _forget(self, key: Key) -> None:
        for name in tuple(self._of_key.get(key, ())):
            self._drop(name)

    def _drop(self, name: tuple[str, bytes]) -> None:
        known = self._known.pop(name, None)
        if known is None:
            return
        names = self._of_key[known.entry.key]
        names.discard(name)
        if not names:
            del self._of_key[known.entry.key]

"""The door's short way: requests whose very bytes were answered before.

SDKs send the same bytes again and again, and equal bytes ask the same. So what a request was found to mean is
kept with its bytes, and reading it again is skipped. Nothing else is: the cache still says whether its
credentials may be served now, counts the hit, keeps its order and renews; the reply is counted and logged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Ask, Issued
from rolecall.edges.cache import CredentialCache
from rolecall.edges.clock import Clock
from rolecall.edges.flights import Key, key_of
from rolecall.edges.http_head import DateLine, head_of

LONGEST = 4096
"""Bytes of a request that is kept: twice what SDKs send with a long token. Longer ones are read each time."""
MOST_OF_ONE = 3
"""Spellings of one question that are kept: a client that varies its headers pushes out its own only."""


@dataclass(slots=True)
class _Known:
    """What one request means, and the answer that was made for the credentials that were held then."""

    key: Key
    peer: str
    keep: bool
    issued: Issued
    head: bytes
    body: bytes


class HotPath:
    """Requests by their bytes, at most `most`; the one unused longest goes first.

    `hit` is told of every answer, with who asked and what was handed out; `answers` counts them.
    """

    def __init__(
        self,
        cache: CredentialCache,
        render: Callable[[Issued], Reply],
        *,
        clock: Clock,
        hit: Callable[[str, Issued], None],
        most: int,
    ) -> None:
        self._cache, self._render = cache, render
        self._clock, self._hit, self._most = clock, hit, most
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._spellings: dict[Key, list[bytes]] = {}
        self._dated = DateLine()
        self.answers = 0

    def __len__(self) -> int:
        return len(self._known)

    def answer(self, raw: bytes, peer: str) -> tuple[bytes, bool] | None:
        """Return the answer's bytes and whether the connection stays; None for bytes that have to be read."""
        known = self._known.get(raw)
        if known is None:
            return None
        issued = self._cache.held_at(known.key)
        if issued is None or peer != known.peer:
            self._forget(raw)
            return None
        if issued is not known.issued:
            self._encode(known, issued)
        self._known.move_to_end(raw)
        self.answers += 1
        self._hit(peer, issued)
        return b"".join((known.head, self._dated(self._clock.now()), known.body)), known.keep

    def learn(self, request: Request, ask: Ask, issued: Issued) -> None:
        """Keep what a request means that was just answered with these credentials."""
        if not 0 < len(request.raw) <= LONGEST or request.method != "GET" or self._most <= 0:
            return
        key, raw = key_of(ask), request.raw
        known = _Known(key, request.peer, not request.last, issued, b"", b"")
        self._encode(known, issued)
        self._forget(raw)
        self._known[raw] = known
        spellings = self._spellings.setdefault(key, [])
        spellings.append(raw)
        if len(spellings) > MOST_OF_ONE:
            self._forget(spellings[0])
        while len(self._known) > self._most:
            self._forget(next(iter(self._known)))

    def _encode(self, known: _Known, issued: Issued) -> None:
        reply = self._render(issued)
        known.issued, known.head, known.body = issued, head_of(reply, keep=known.keep), reply.body

    def _forget(self, raw: bytes) -> None:
        known = self._known.pop(raw, None)
        if known is not None:
            spellings = self._spellings[known.key]
            spellings.remove(raw)
            if not spellings:
                del self._spellings[known.key]

"""The door's short way: requests whose very bytes were answered before.

SDKs send the same bytes again and again, and equal bytes ask the same. So what a request was found to mean is
kept, and reading it again is skipped. Nothing else is: the cache still says whether its credentials may be
served now, counts the hit, keeps its order and renews; the reply is counted and logged.

What is long is held once: the pod's token, to renew with, is a part of the request's bytes, and the credentials that
are held are parts of the answer's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from sys import intern

from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_entry import Entry
from rolecall.edges.clock import Clock
from rolecall.edges.flights import Key, key_of
from rolecall.edges.http_head import DateLine, head_of

LONGEST = 4096
"""Bytes of a request that is kept: twice what SDKs send with a long token. Longer ones are read each time."""
MOST_OF_ONE = 3
"""Spellings of one question that are kept: a client that varies its headers pushes out its own only."""


_MOST_HEADS = 64


@dataclass(slots=True)
class _Known:
    """What one request means, and the answer that was made for the credentials that were held then."""

    entry: Entry
    peer: str
    keep: bool
    issued: Issued
    head: bytes = b""  # but for the date, which follows it
    body: bytes = b""


class HotPath:
    """Requests by their bytes, at most `most`; the one learned first goes first, and with an entry all of its own.

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
        self._known: dict[bytes, _Known] = {}
        self._spellings: dict[Key, tuple[bytes, ...]] = {}
        self._heads: dict[bytes, bytes] = {}  # most heads are equal, and held once
        self._dated = DateLine()
        self.answers = 0
        cache.gone = self.forget

    def __len__(self) -> int:
        return len(self._known)

    def answer(self, raw: bytes, peer: str) -> tuple[bytes, bool] | None:
        """Return the answer's bytes and whether the connection stays; None for bytes that have to be read."""
        known = self._known.get(raw)
        if known is None:
            return None
        issued = self._cache.use(known.entry) if peer == known.peer else None
        if issued is None:
            issued = self._renewed(known) if peer == known.peer else None
            if issued is None:
                self._drop(raw)
                return None
        if issued is not known.issued:
            self._encode(known, issued)
        self.answers += 1
        self._hit(peer, issued)
        return b"".join((known.head, self._dated(self._clock.now()), known.body)), known.keep

    def learn(self, request: Request, ask: Ask, issued: Issued) -> None:
        """Keep what a request means that was just answered with these credentials."""
        if not 0 < len(request.raw) <= LONGEST or request.method != "GET" or self._most <= 0:
            return
        entry, raw = self._cache.entry(key_of(ask)), request.raw
        if entry is None or entry.issued is not issued:
            return
        key = entry.key
        known = _Known(entry, intern(request.peer), not request.last, issued)
        self._encode(known, issued)
        self._drop(raw)
        self._known[raw] = known
        spellings = (*self._spellings.get(key, ()), raw)
        self._spellings[key] = spellings
        if len(spellings) > MOST_OF_ONE:
            self._drop(spellings[0])
        while len(self._known) > self._most:
            self._drop(next(iter(self._known)))

    def forget(self, key: Key) -> None:
        """Forget all requests for what is held no more."""
        for raw in self._spellings.get(key, ()):
            self._drop(raw)

    def _renewed(self, known: _Known) -> Issued | None:
        """Return what is held now in place of the entry that was known, if it may be served."""
        entry = self._cache.entry(known.entry.key)
        if entry is None or entry is known.entry:
            return None
        known.entry = entry
        return self._cache.use(entry)

    def _encode(self, known: _Known, issued: Issued) -> None:
        reply = self._render(issued)
        head = head_of(reply, keep=known.keep)
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        known.head, known.body = self._heads.setdefault(head, head), self._body(known, issued, reply.body)
        known.issued = known.entry.issued

    def _body(self, known: _Known, issued: Issued, body: bytes) -> bytes:
        """Return the answer's body as one object for all spellings, with the credentials in it held nowhere else."""
        for raw in self._spellings.get(known.entry.key, ()):
            other = self._known[raw]
            if other.issued is issued and other.body == body:
                return other.body
        if known.entry.issued is issued:
            known.entry.issued = _within(issued, body)
        return body

    def _drop(self, raw: bytes) -> None:
        known = self._known.pop(raw, None)
        if known is None:
            return
        left = tuple(other for other in self._spellings[known.entry.key] if other != raw)
        if left:
            self._spellings[known.entry.key] = left
        else:
            del self._spellings[known.entry.key]


def _within(issued: Issued, body: bytes) -> Issued:
    """Return the same, its secrets as parts of these bytes, where they stand there as they are."""
    found = issued.credentials
    return replace(
        issued,
        credentials=replace(
            found,
            secret_access_key=_part(found.secret_access_key, body),
            session_token=_part(found.session_token, body),
        ),
    )


def _part(secret: Secret, body: bytes) -> Secret:
    text = secret.reveal_bytes()
    at = body.find(text) if text else -1
    return secret if at < 0 else Secret.within(body, at, at + len(text))

"""What a cache holds of one question, and what may be told about it: everything but the credentials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from rolecall.core.freshness import Milestones
from rolecall.core.source import Ask, Issued, Subject
from rolecall.edges.flights import Key

Renewal = Literal["planned", "queued", "under-way", "when-used"]
"""What is to become of an entry: renewed at its time, as soon as there is room, now; or once somebody comes for it."""


_GONE = float("-inf")


@dataclass(slots=True)
class Entry:
    """`times`, `ends_at`, `calm_until` are in wall-clock time, the other moments in monotonic time.

    Until `calm_until` and `over_at` it can be served without another look at it.
    """

    key: Key
    ask: Ask
    issued: Issued
    times: Milestones
    ends_at: float
    over_at: float
    came_at: float = 0.0
    hits: int = 0
    last_error: str = ""  # the word of the last renewal, where it failed
    used: bool = True
    used_at: int = 0  # how many uses there were of any entry, until and with its last
    calm_until: float = _GONE
    retry_at: float = 0.0  # no renewal before this
    planned: float = 0.0  # the item of the agenda that is this entry's
    backoff: Iterator[float] | None = field(default=None)

    def is_over(self, now: float, monotonic: float) -> bool:
        """Whether it must not be served any more."""
        return now >= self.ends_at or monotonic >= self.over_at

    def renew_from(self, when: float) -> None:
        """Have it be due from then on."""
        self.times = replace(self.times, renew_at=when)
        self.calm_until = min(self.ends_at, when)


class Entries(dict[Key, Entry]):
    """Entries by key. `gone` is told of each key that has no entry any more.

    A use is a number in the entry. To keep them in order instead would touch four other entries' memory at each hit.
    """

    def __init__(self, gone: Callable[[Key], None]) -> None:
        super().__init__()
        self._gone = gone
        self._unused: list[tuple[int, Key]] = []  # as they were once, the one unused longest at the end

    def put(self, entry: Entry) -> None:
        """Hold this one, in place of what had its key."""
        before = self.get(entry.key)
        if before is not None:
            before.over_at = _GONE
        entry.renew_from(entry.times.renew_at)
        self[entry.key] = entry

    def drop(self, key: Key) -> None:
        """Forget one, which must be there."""
        self.pop(key).over_at = _GONE
        self._gone(key)

    def drop_oldest(self) -> None:
        """Forget the one unused longest. What was used since the order was looked at comes after all that was not."""
        while True:
            if not self._unused:
                self._unused = [(entry.used_at, entry.key) for entry in self.by_use()]
                self._unused.reverse()
            used_at, key = self._unused.pop()
            entry = self.get(key)
            if entry is not None and entry.used_at == used_at:
                self.drop(key)
                return

    def by_use(self) -> list[Entry]:
        """Return all, the one used last at the end."""
        return sorted(self.values(), key=lambda entry: entry.used_at)

    def drop_all(self) -> None:
        """Forget them all."""
        for key in list(self):
            self.drop(key)


def outlives(held: Entry, issued: Issued, now: float, monotonic: float) -> bool:
    """Whether what is held lasts longer than what its renewal brought, and is as good: same role, same association.

    An upstream may hand out old credentials. Those of another role replace what is held, whenever they end.
    """
    longer = _ends_in(held, now, monotonic) > issued.credentials.expires_at - now
    return longer and _role(held.issued) == _role(issued)


def _role(issued: Issued) -> tuple[str, str]:
    """Return association and role; the session's ARN ends with the session's name, each has its own."""
    return issued.association_id, issued.assumed_role_arn.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Held:
    """One entry as it may be shown: whose it is by upstream's word, and how it stands. Lengths are seconds.

    `peer` asked for it first; `renews_in` is None where nobody knows; `last_error` is the word of the last
    renewal, where it failed.
    """

    subject: Subject | None
    association_id: str
    role_session: str
    peer: str
    state: str
    age: float
    expires_at: float
    ends_in: float
    renewal: Renewal
    renews_in: float | None
    last_error: str
    hits: int


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry that outlives its cache: the SHA-256 of its token, what was issued, and its end in wall-clock time."""

    token: bytes
    issued: Issued
    ends_at: float


@dataclass(frozen=True, slots=True)
class Census:
    """All entries in a few numbers. The times are seconds, and None where there is no such entry.

    `oldest` is the age of the oldest one; `soonest_end` is when the first ends of those that were asked for since
    they came: where renewals fail, the first pod loses its credentials then.
    """

    states: Mapping[str, int]
    oldest: float | None
    soonest_end: float | None


def held(entry: Entry, renewal: Renewal, now: float, monotonic: float) -> Held:
    """Return an entry as it may be shown."""
    planned = renewal == "planned"
    return Held(
        subject=entry.issued.subject,
        association_id=entry.issued.association_id,
        role_session=entry.issued.assumed_role_arn,
        peer=entry.ask.peer,
        state=entry.times.state(now).name.lower(),
        age=max(0.0, monotonic - entry.came_at),
        expires_at=entry.issued.credentials.expires_at,
        ends_in=_ends_in(entry, now, monotonic),
        renewal=renewal,
        renews_in=max(0.0, entry.planned - monotonic) if planned else None,
        last_error=entry.last_error,
        hits=entry.hits,
    )


def kept(entry: Entry, now: float, monotonic: float) -> Kept:
    """Return an entry for the cache after this one; it ends no later there."""
    return Kept(entry.key[0], entry.issued, now + _ends_in(entry, now, monotonic))


def census(entries: Iterable[Entry], now: float, monotonic: float) -> Census:
    """Count entries; those that are over, and only not dropped yet, count for nothing."""
    states: Counter[str] = Counter()
    oldest: float | None = None
    soonest: float | None = None
    for entry in entries:
        if entry.is_over(now, monotonic):
            continue
        states[entry.times.state(now).name.lower()] += 1
        age = max(0.0, monotonic - entry.came_at)
        oldest = age if oldest is None or age > oldest else oldest
        if entry.used:
            left = _ends_in(entry, now, monotonic)
            soonest = left if soonest is None or left < soonest else soonest
    return Census(states, oldest, soonest)


def _ends_in(entry: Entry, now: float, monotonic: float) -> float:
    return max(0.0, min(entry.ends_at - now, entry.over_at - monotonic))

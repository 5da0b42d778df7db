"""Sessions that a metadata service shows again and again: made once, and anew well before they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from rolecall.core.source import Issued
from rolecall.edges.clock import Clock
from rolecall.edges.store.sqlite import Database, Tx

MOST = 1000
LONGEST = 3600.0
"""Seconds that a session is shown at most; EC2's last six hours, and there are new ones about every hour."""


@dataclass(frozen=True, slots=True)
class Held:
    """A session, and when it was made."""

    issued: Issued
    since: float

    def is_shown(self, now: float) -> bool:
        """Whether it is still shown: SDKs want to see more than a few minutes ahead of them."""
        life = self.issued.credentials.expires_at - self.since
        return now < self.since + min(LONGEST, life / 2)


class HeldSessions:
    """Makes one session for each key, however many ask at once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._held: dict[Hashable, Held] = {}
        self._making = asyncio.Lock()

    async def of(self, key: Hashable, make: Callable[[Tx], Issued]) -> Held:
        """Return the session of a key; raises what `make` raises, and keeps nothing of that."""
        async with self._making:
            found = self._held.get(key)
            if found is None or not found.is_shown(self._clock.now()):
                found = Held(await self._database.run(make), self._clock.now())
                self._held.pop(key, None)
                self._held[key] = found
                while len(self._held) > MOST:
                    del self._held[next(iter(self._held))]
            return found

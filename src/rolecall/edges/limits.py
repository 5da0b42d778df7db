"""Rates that are kept to: one bucket, and one bucket for each source."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import inf

from rolecall.edges.clock import Clock


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of one listener.

    Bytes and fields of a head, bytes of a body; seconds for a request to arrive, for an answer to be read, and
    between the two; seconds that a refused client may go on sending before it is cut off; connections at once,
    and those of one address; requests a second that are read from one address, a quarter as many at once: a faster
    one is made to wait, so that it cannot take the time of others. Known requests cost next to nothing and wait
    for nobody. Bytes of memory for requests that are half read or not yet answered, and for those of one address.
    """

    head: int = 128 * 1024
    fields: int = 128
    body: int = 64 * 1024
    idle: float = 30.0
    linger: float = 1.0
    connections: int = 2048
    connections_of_one: int = 1024
    requests_of_one: float = 1000.0
    kept: int = 16 * 1024 * 1024
    kept_of_one: int = 8 * 1024 * 1024


VIEWS = ServerLimits(connections=64, connections_of_one=16, requests_of_one=20.0)
"""Of probes and metrics: they are for few, and the machine's neighbours reach the metrics too."""

MOST_DEBT = 10.0
"""Seconds in which anybody has paid for what they took in advance: a flood that has ended is forgiven soon."""


class TokenBucket:
    """Lets `rate` things a second through, and up to `burst` at once after a quiet time."""

    __slots__ = ("_at", "_clock", "_tokens", "burst", "rate")

    def __init__(self, *, rate: float, burst: float, clock: Clock) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a bucket needs a positive rate and a burst of at least 1")
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = burst
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Take one token and return True; return False, taking nothing, where there is none."""
        self._refill()
        # A hair less than one counts: refilling after exactly `wait()` seconds may round down.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens = max(0.0, self._tokens - 1.0)
        return True

    def reserve(self) -> float:
        """Take one token, also one that is not there yet; return the seconds until it is, `MOST_DEBT` at most."""
        self._refill()
        self._tokens = max(self._tokens - 1.0, -MOST_DEBT * self.rate)
        return self.debt()

    def debt(self) -> float:
        """Return the seconds until all that was reserved is there."""
        self._refill()
        return max(0.0, -self._tokens / self.rate)

    def wait(self) -> float:
        """Return the seconds until `take` can succeed; zero if it would now."""
        self._refill()
        return max(0.0, (1.0 - self._tokens) / self.rate)

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now


class PerSource:
    """A bucket for each source (a pod's address), so that one flooding neighbour only stops itself.

    At most `most_sources` are remembered; the one that has been quiet longest is forgotten first, which
    gives it a full bucket when it returns. With a rate of infinity nobody waits, and nobody is remembered.
    """

    def __init__(self, *, rate: float, burst: float, clock: Clock, most_sources: int = 1024) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._most = most_sources
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, source: str) -> bool:
        """Take one token of this source's bucket; False where it has none left."""
        return self._bucket(source).take()

    def reserve(self, source: str) -> float:
        """Take one token of this source's bucket, in advance where it must be; return the seconds to wait for it."""
        return 0.0 if self._rate == inf else self._bucket(source).reserve()

    def debt(self, source: str) -> float:
        """Return the seconds until this source has all that it took in advance."""
        bucket = self._buckets.get(source)
        return 0.0 if bucket is None else bucket.debt()

    def _bucket(self, source: str) -> TokenBucket:
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = TokenBucket(rate=self._rate, burst=self._burst, clock=self._clock)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(source)
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)


class Shares:
    """A quantity that is bounded in all and for each source, such as bytes of memory. `total` is what is taken now."""

    def __init__(self, *, most: int, of_one: int) -> None:
        self._most, self._of_one = most, of_one
        self._taken: dict[str, int] = {}
        self.total = 0

    def change(self, source: str, by: int) -> bool:
        """Have a source take so much more, or less; False, changing nothing, where more would be too much."""
        taken = self._taken.get(source, 0) + by
        if by > 0 and (taken > self._of_one or self.total + by > self._most):
            return False
        self.total += by
        if taken:
            self._taken[source] = taken
        else:
            self._taken.pop(source, None)
        return True

    def __len__(self) -> int:
        return len(self._taken)

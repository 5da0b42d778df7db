"""How fresh a held credential is, and what that means for serving and renewing it.

A credential's life runs from the moment it was received to the moment AWS stops accepting it::

    issued ──── FRESH ──── renew ──── RENEW ──── stale ──── STALE ──── dead ─ expiry
            serve              serve, renew         serve, renew        never
                               in background        before others       served

Everything scales with the life, so a 20-second credential goes through the same states as one of six
hours. All times are seconds since the epoch, all lengths are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    """What to do with an entry. FRESH, RENEW and STALE are served; MISS and DEAD never are."""

    MISS = auto()
    FRESH = auto()
    RENEW = auto()
    STALE = auto()
    DEAD = auto()

    @property
    def served(self) -> bool:
        """Whether the credential may be handed to a client."""
        return self in _SERVED


_SERVED = frozenset({State.FRESH, State.RENEW, State.STALE})


@dataclass(frozen=True, slots=True)
class FreshnessRules:
    """The lengths that the states are made of.

    `renewal_ttl`: renew after this long, or after half of the life where that is shorter. SDKs ask again
    10 to 15 minutes before expiry, so a credential of an hour must be replaced well before that.
    `stale_left`: with no more than this left (or `stale_share` of the life) renewal comes first.
    `floor_left`: with no more than this left (or `floor_share` of the life) it counts as over: a request
    signed with it might arrive at AWS too late. `jitter` spreads renewals over that share of the wait.
    """

    renewal_ttl: float = 10_800.0
    stale_left: float = 1_200.0
    stale_share: float = 0.25
    floor_left: float = 15.0
    floor_share: float = 0.1
    jitter: float = 0.1


DEFAULT_RULES = FreshnessRules()


@dataclass(frozen=True, slots=True)
class Milestones:
    """When an entry changes state: ``renew_at <= stale_at <= dead_at <= expires_at``."""

    renew_at: float
    stale_at: float
    dead_at: float
    expires_at: float

    def state(self, now: float) -> State:
        """Return the state at `now`. A clock that went back before the issue finds it fresh."""
        if now < self.renew_at:
            return State.FRESH
        if now >= self.dead_at:
            return State.DEAD
        return State.RENEW if now < self.stale_at else State.STALE


def milestones(
    issued_at: float, expires_at: float, rules: FreshnessRules = DEFAULT_RULES, dice: float = 0.0
) -> Milestones:
    """Return when a credential is renewed, is stale and is dead.

    `dice`, from 0 to 1, moves the renewal earlier by up to `rules.jitter` of the wait, so that
    credentials that were fetched together are not renewed together. It never moves it later.
    """
    life = max(0.0, expires_at - issued_at)
    dead_at = expires_at - min(rules.floor_left, rules.floor_share * life)
    stale_at = min(dead_at, expires_at - min(rules.stale_left, rules.stale_share * life))
    wait = min(rules.renewal_ttl, life / 2) * (1.0 - rules.jitter * min(1.0, max(0.0, dice)))
    return Milestones(min(issued_at + wait, stale_at), stale_at, dead_at, expires_at)


def state(
    issued_at: float | None,
    expires_at: float | None,
    now: float,
    rules: FreshnessRules = DEFAULT_RULES,
    dice: float = 0.0,
) -> State:
    """Return the state of a credential; without one (a time is None) it is a MISS."""
    if issued_at is None or expires_at is None:
        return State.MISS
    return milestones(issued_at, expires_at, rules, dice).state(now)

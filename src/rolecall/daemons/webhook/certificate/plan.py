"""How a certificate of our own is replaced so that nobody ever meets one that he does not believe.

Three authorities at most are believed at one time: that of the certificate which is shown, that of the next one, which
every API server has to know before it is shown, and that of the former one, which a slow replica may show still.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from rolecall.edges.certificates import ServingPair, Validity

RENEW_AFTER = 2 / 3
"""The part of a certificate's life after which the next one is made."""
FORMER_FOR = 3600.0
"""Seconds for which the former authority is believed still."""

Read = Callable[[str], Validity]
Make = Callable[[], ServingPair]


@dataclass(frozen=True, slots=True)
class Kept:
    """What the replicas share. `former` is the authority before this one (PEM or ""), since `promoted_at`."""

    shown: ServingPair
    next: ServingPair | None = None
    former: str = ""
    promoted_at: float = 0.0

    @property
    def bundle(self) -> str:
        """All authorities to believe."""
        return self.shown.authority + (self.next.authority if self.next else "") + self.former


def step(kept: Kept | None, now: float, *, names: Collection[str], known: bool, read: Read, make: Make) -> Kept | None:
    """Return what is to be kept from now on; None where nothing changes.

    `known` says whether every API server can be counted on to believe the next authority.
    """
    if kept is None:
        return Kept(make())
    validity = read(kept.shown.certificate)
    ended = validity.ends <= now
    if kept.next is not None:
        if ended or known:
            former = "" if ended else kept.shown.authority
            return Kept(kept.next, former=former, promoted_at=now)
        return None
    if ended:
        return Kept(make())
    due = now >= validity.begins + RENEW_AFTER * (validity.ends - validity.begins)
    if due or not validity.names.issuperset(names):
        return replace(kept, next=make())
    if kept.former and now >= kept.promoted_at + FORMER_FOR:
        return replace(kept, former="")
    return None

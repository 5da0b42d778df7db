"""What the admin socket says, as bytes: the agent's end, and that of ``rolecall agent status``."""

from __future__ import annotations

import msgspec

from rolecall.errors import Upstream

PATH = "/status"


class Entry(msgspec.Struct, frozen=True):
    """Credentials that are held, without them. Namespace and service account are the issuer's word.

    `renewal` is what is to become of them: planned, queued, under-way, or when-used. `door` is where they
    were asked for: ``pod-identity`` or ``imds``.
    """

    namespace: str | None
    service_account: str | None
    association: str
    role_session: str
    peer: str
    state: str
    age_seconds: float
    expires: str
    ends_in_seconds: float
    renewal: str
    renews_in_seconds: float | None
    last_error: str | None
    hits: int
    door: str = "pod-identity"


class SignsWith(msgspec.Struct, frozen=True):
    """The agent's own credentials, without them: their source and where it is, their end, why they are not renewed."""

    source: str
    where: str
    expires: str | None
    last_error: str | None


class Totals(msgspec.Struct, frozen=True):
    """What the agent has counted since it began."""

    entries: int
    states: dict[str, int]
    hits: int
    misses: int
    renewals: int
    renewal_failures: dict[str, int]
    evictions: int
    failures_remembered: int
    upstream: dict[str, int]
    refusals: dict[str, int]


class Status(msgspec.Struct, frozen=True):
    """How an agent is, and what it holds: at most so many entries, and how many more there are."""

    version: str
    uptime_seconds: float
    ready: bool
    faults: list[str]
    doors: list[str]
    not_bound: dict[str, str]
    requests_in_flight: int
    totals: Totals
    entries: list[Entry]
    entries_not_shown: int
    signs_with: SignsWith | None = None


def encode(status: Status) -> bytes:
    """Return the answer's body."""
    return msgspec.json.encode(status) + b"\n"


def decode(body: bytes) -> Status:
    """Return what a body says; raises `Upstream` for one that is no status."""
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Upstream(f"the agent's status cannot be read: {str(fault)[:200]}") from None

"""A source that does what a test says, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.edges.clock import Clock


def issued(name: str, expires_at: float) -> Issued:
    """Return credentials whose session is called `name` and that end at `expires_at` (seconds since the epoch)."""
    credentials = Credentials(
        access_key_id="ASIAIOSFODNN7EXAMPLE",
        secret_access_key=Secret(f"secret-of-{name}"),
        session_token=Secret(f"session-of-{name}"),
        expires_at=expires_at,
        account=AccountId.parse("123456789012"),
    )
    return Issued(credentials, f"arn:aws:sts::123456789012:assumed-role/demo/{name}", f"AROAEXAMPLE:{name}")


class FakeSource:
    """Answers every ask with credentials of `life` seconds after `delay` seconds, or raises `failure`.

    `life`, `delay` and `failure` may be changed between asks; `failure` may be a function of the ask. The
    answers' sessions are numbered, so that a test can tell an old answer from a new one.
    """

    def __init__(self, clock: Clock, *, life: float = 3600.0, delay: float = 0.0) -> None:
        self.life = life
        self.delay = delay
        self.failure: Exception | Callable[[Ask], Exception | None] | None = None
        self.asked: list[Ask] = []
        self.asked_at: list[float] = []
        self.under_way = 0
        self.most_under_way = 0
        self.given_up = 0
        self._clock = clock

    async def __call__(self, ask: Ask) -> Issued:
        """Answer as this source is set now, once its delay has passed."""
        self.asked.append(ask)
        self.asked_at.append(self._clock.monotonic())
        number, life, failure = len(self.asked), self.life, self.failure
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        answered = False
        try:
            if self.delay:
                await self._clock.sleep(self.delay)
            answered = True
        finally:
            self.under_way -= 1
            self.given_up += not answered
        error = failure(ask) if callable(failure) else failure
        if error is not None:
            raise error
        return issued(f"s{number}", self._clock.now() + life)

"""Temporary AWS credentials, without any wire shape."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an AWS client signs with. `expires_at` is in seconds since the epoch, UTC."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret
    expires_at: float
    account: AccountId

    def seconds_left(self, now: float) -> float:
        """Return how long they can still be used; negative once they have expired."""
        return self.expires_at - now

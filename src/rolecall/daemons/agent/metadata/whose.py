"""Who asks at the metadata door, by the address that asked: the seam between the door and its world."""

from __future__ import annotations

from typing import Protocol

from rolecall.core.grant import Refusal
from rolecall.mechanisms.metadata_proxy.decide import Facts

HOLD = 0.9
"""Seconds that a caller is waited for who is not known yet: botocore and others give a question one second (R-4)."""


class Whose(Protocol):
    """Says whose an address is now. Every question of a client is put to it again: an answer holds for that moment."""

    def known(self, peer: str) -> Facts | Refusal | None:
        """Return at once what is known of who asks from there; None where somebody has to be waited for or asked."""
        ...

    async def facts(self, peer: str) -> Facts | Refusal:
        """Return the same within `HOLD` seconds. Raises `RolecallError` where whoever knows does not say it."""
        ...

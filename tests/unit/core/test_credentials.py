"""Credentials know how long they last."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret

HELD = Credentials("ASIAEXAMPLE", Secret("s"), Secret("t"), 1_000.0, AccountId("123456789012"))


@pytest.mark.parametrize(("now", "left"), [(0.0, 1_000.0), (999.5, 0.5), (1_000.0, 0.0), (1_001.0, -1.0)])
def test_seconds_left(now: float, left: float) -> None:
    """Zero at the moment of expiry, negative after it."""
    assert HELD.seconds_left(now) == left


def test_they_do_not_change() -> None:
    """A value that was handed on stays what it was."""
    with pytest.raises(FrozenInstanceError):
        HELD.expires_at = 2_000.0  # type: ignore[misc]

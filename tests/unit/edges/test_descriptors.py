"""Descriptors: one warning for each time that they run out, and no limit made smaller."""

from __future__ import annotations

import logging
import resource

import pytest

from rolecall.edges.descriptors import DescriptorWatch, raise_limit
from rolecall.edges.telemetry import Log


class Numbered:
    """A connection that has this number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """Return it."""
        return self._number


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """A process whose limits are a dictionary's."""
    limits = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.update(now=new))
    return limits


def test_it_is_said_once_and_again_after_a_relief(
    limit: dict[str, tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """However many connections come at the end of the room; with what to do about it."""
    watch = DescriptorWatch(Log())
    for number in (5, 900, 1020, 1022, 1023, 1015, 1023):
        watch.took(Numbered(number))  # type: ignore[arg-type]
    assert [record.message for record in caplog.records] == ["http.descriptors_used_up"]
    assert (caplog.records[0].levelno, caplog.records[0].fields["limit"]) == (logging.WARNING, 1024)
    for number in (500, 1023):
        watch.took(Numbered(number))  # type: ignore[arg-type]
    assert len(caplog.records) == 2
    limit["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    watch.took(Numbered(1023))  # type: ignore[arg-type]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (2560, 4096)),
        ((1024, 2000), (2000, 2000)),
        ((1024, resource.RLIM_INFINITY), (2560, resource.RLIM_INFINITY)),
        ((65_536, 65_536), (65_536, 65_536)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)),
    ],
)
def test_a_limit_is_raised_as_far_as_it_may_be(
    limit: dict[str, tuple[int, int]], before: tuple[int, int], after: tuple[int, int]
) -> None:
    """Never beyond the hard limit, never down."""
    limit["now"] = before
    has = 2560 if after[0] == resource.RLIM_INFINITY else after[0]
    assert (raise_limit(2560), limit["now"]) == (has, after)

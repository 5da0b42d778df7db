"""Dates in heads, against what the library makes of the same second."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import example, given
from hypothesis import strategies as st

from rolecall.edges.http_head import DateLine, http_date


@given(st.integers(0, 253_402_300_799))
@example(1_772_323_199)  # the last second of a February
def test_a_date_is_the_librarys(second: int) -> None:
    """Of every second that a clock can show."""
    assert http_date(second) == formatdate(second, usegmt=True)


def test_the_line_is_that_of_its_second() -> None:
    """It ends the head, and changes with the second."""
    line = DateLine()
    assert line(784_111_777.9) == b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    assert line(784_111_778.0) == b"date: Sun, 06 Nov 1994 08:49:38 GMT\r\n\r\n"

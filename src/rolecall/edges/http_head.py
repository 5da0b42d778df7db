"""Heads of HTTP answers, as bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus

from rolecall.core.exchange import Headers, Reply


def phrase(status: int) -> str:
    """Return the words of a status line."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # an upstream's own, handed on
        return "Unknown"


def head_of(reply: Reply, *, keep: bool) -> bytes:
    """Return the head of an answer but for its last line, the date."""
    head = _beginning(reply.status, reply.headers, keep)
    return head if reply.status == HTTPStatus.NO_CONTENT else b"%bcontent-length: %d\r\n" % (head, len(reply.body))


@lru_cache(128)
def _beginning(status: int, headers: Headers, keep: bool) -> bytes:
    """Answers differ in their lengths, and in little else."""
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *(f"{name}: {value}" for name, value in headers)]
    if not keep:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(second: int) -> str:
    """Return a time as HTTP says it, in English (RFC 9110 §5.6.7). What the library has for it brings all of email."""
    at = datetime.fromtimestamp(second, UTC)
    return f"{_DAYS[at.weekday()]}, {at:%d} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} GMT"


class DateLine:
    """The last line of every head, made once a second (RFC 9110 §6.6.1)."""

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def __call__(self, now: float) -> bytes:
        """Return the line with the end of the head."""
        second = int(now)
        if second != self._second:
            self._second, self._line = second, f"date: {http_date(second)}\r\n\r\n".encode("latin-1")
        return self._line

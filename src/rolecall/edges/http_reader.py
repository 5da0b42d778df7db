"""Requests out of the bytes of a connection: httptools parses, every size is bounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import httptools

from rolecall.core.exchange import Request
from rolecall.edges.limits import ServerLimits

Took = Callable[[Request, bool, int], None]
"""Told of a request, whether its connection may go on, and about how many bytes of memory it takes."""

_ONCE = frozenset({"host", "content-length", "authorization", "transfer-encoding"})
_FIELD = 200  # bytes of memory that a field takes beside its text: a tuple and two strings


class Unreadable(Exception):
    """What was sent is refused with this status; nothing after it can be read."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class RequestReader:
    """Reads one connection. httptools calls `on_…` for what it finds in the bytes; `took` is told of each request.

    `begun` says that a request is half read.
    """

    __slots__ = (
        "_body", "_head_size", "_headers", "_in_body", "_limits", "_parser", "_peer", "_raw", "_target", "_took",
        "_unsaid", "_version", "begun",
    )  # fmt: skip

    def __init__(self, peer: str, limits: ServerLimits, took: Took) -> None:
        self._peer, self._limits, self._took = peer, limits, took
        self._parser = httptools.HttpRequestParser(self)
        self._unsaid = 0  # bytes since the parser last told of something
        self._raw = b""  # the bytes that came last, where a request began with them
        self.begun = False
        self._start()

    def _start(self) -> None:
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._head_size = 0
        self._in_body = False

    @property
    def size(self) -> int:
        """About how many bytes of memory the request takes that is half read."""
        return max(self._unsaid, self._head_size) + _FIELD * len(self._headers) + len(self._body)

    def feed(self, data: bytes) -> bool:
        """Read; return whether what comes later may be read as well. Raises `Unreadable`."""
        self._raw = b"" if self.begun else data
        self._unsaid += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return False  # the request before it is answered as if nothing else had been offered
        except httptools.HttpParserCallbackError as fault:
            cause = fault.__context__
            raise (cause if isinstance(cause, Unreadable) else Unreadable(400)) from None
        except httptools.HttpParserError:
            raise Unreadable(400) from None
        if self._unsaid > self._limits.head:  # one endless line, of which the parser says nothing yet
            raise Unreadable(431)
        return True

    def close(self) -> None:
        """Read no more. Parser and reader know each other, and would stay in memory for a while."""
        del self._parser

    # --- what httptools calls ---

    def on_message_begin(self) -> None:
        self.begun = True

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value) + 4)
        if not self._in_body:  # fields after a chunked body say nothing about the request (RFC 9110 §6.5.1)
            spelled = _known(name) if len(name) <= _LONGEST_KNOWN else _lower(name)
            self._headers.append((spelled, value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        self._unsaid = 0
        self._in_body = True
        self._version = self._parser.get_http_version()
        if self._version not in ("1.0", "1.1"):
            raise Unreadable(505)
        names = [name for name, _ in self._headers if name in _ONCE]
        if len(names) != len(set(names)):
            raise Unreadable(400, "a header that may come once was given twice")
        if "host" not in names and self._version == "1.1":
            raise Unreadable(400, "missing required Host header")

    def on_body(self, body: bytes) -> None:
        self._unsaid = 0
        self._body += body
        if len(self._body) > self._limits.body:
            raise Unreadable(413)

    def on_message_complete(self) -> None:
        self._unsaid, self.begun = 0, False
        method = self._parser.get_method().decode("latin-1")
        keep = self._parser.should_keep_alive() and self._version == "1.1"
        raw, self._raw = self._raw if _is_one_head(self._raw) else b"", b""
        target, body = self._target.decode("latin-1"), bytes(self._body)
        request = Request(method, target, tuple(self._headers), body, self._peer, raw, not keep)
        size = self.size
        self._start()
        self._took(request, keep and not self._parser.should_upgrade(), size + len(raw))

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._limits.head or len(self._headers) >= self._limits.fields:
            raise Unreadable(431)


def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()


_known = lru_cache(256)(_lower)
"""Clients send the same names again and again. What is longer than any of theirs is not kept."""
_LONGEST_KNOWN = 64


def _is_one_head(data: bytes) -> bool:
    """Whether these bytes end with the only end of a head in them: one request without a body."""
    return data.endswith(b"\r\n\r\n") and data.count(b"\r\n\r\n") == 1 and b"\n\n" not in data

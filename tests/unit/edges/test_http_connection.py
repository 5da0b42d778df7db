"""One connection fed with whatever hypothesis makes of requests: how the bytes are cut changes no answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolecall.core.exchange import Reply, Request
from rolecall.edges.http_connection import Connection
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.telemetry import Log
from rolecall.testing.fake_clock import FakeClock

PIECES = [
    b"GET / HTTP/1.1\r\n", b"GET /v1/credentials HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n",
    b"PRI * HTTP/2.0\r\n", b"GET http://a/ HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"GET /\xff HTTP/1.1\r\n",
    b"Host: a\r\n", b"host: b\r\n", b"Authorization: x.y.z\r\n", b"Content-Length: 3\r\n",
    b"Content-Length: 99999999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b" folded\r\n", b"no colon\r\n", b": no name\r\n", b"a: \x00\r\n",
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"ffffffffffffffffff\r\n",
    b"x" * 300, b"X: " + b"y" * 300 + b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip
NOISE = st.one_of(st.sampled_from(PIECES), st.sampled_from(PIECES), st.binary(max_size=12))
BYTES = st.lists(NOISE, max_size=20).map(b"".join)
LIMITS = ServerLimits(head=1024, fields=8, body=64, requests_of_one=1e6)


class Wire(asyncio.Transport):
    """What the connection writes to, as a socket that is read at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.closed, self.deaf = b"", False, False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("10.0.0.7", 40_000), "socket": self}.get(name, default)

    def fileno(self) -> int:
        return 3

    def write(self, data: object) -> None:
        assert not self.closed
        self.sent += bytes(data)  # type: ignore[call-overload]

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None or low is None

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.deaf = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def handled(request: Request) -> Reply:
    """Answer any request."""
    return Reply(204 if request.path == "/known" else 200, request.method.encode())


def talk(pieces: list[bytes], quick: Callable[[bytes, str], tuple[bytes, bool] | None] | None = None) -> list[int]:
    """Feed one connection with these pieces, end it, and return the status of each answer."""

    async def run() -> bytes:
        server = HttpServer(handled, clock=FakeClock(), limits=LIMITS, log=Log(), quick=quick)
        connection, wire = Connection(server), Wire()
        connection.connection_made(wire)
        for piece in pieces:
            if wire.closed:
                break
            connection.data_received(piece)
        if not wire.closed and not connection.eof_received():
            wire.close()
        connection.connection_lost(None)
        assert (server.kept.total, server.in_flight, len(server.connections)) == (0, 0, 0), "it leaves nothing behind"
        return wire.sent

    return statuses(asyncio.run(run()))


def statuses(sent: bytes) -> list[int]:
    """Read what was sent as a client does (httptools); each answer must be whole."""
    found: list[int] = []

    class Reader:
        def on_message_complete(self) -> None:
            found.append(parser.get_status_code())

    parser = httptools.HttpResponseParser(Reader())
    parser.feed_data(sent)
    assert len(found) == sent.count(b"HTTP/1.1 ")
    return found


@settings(max_examples=150)
@given(BYTES, st.lists(st.integers(0, 400), max_size=6))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3, [5, 30, 60])
def test_how_bytes_are_cut_changes_no_answer(data: bytes, cuts: list[int]) -> None:
    """No 5xx but 505 either, nothing raised, and nothing kept when it has ended."""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    whole = talk([data])
    assert talk(pieces) == whole
    assert talk([bytes([one]) for one in data]) == whole
    assert {status for status in whole if status >= 500} <= {505}


KNOWN = b"GET /known HTTP/1.1\r\nHost: a\r\n\r\n"


@settings(max_examples=100)
@given(st.lists(st.sampled_from([*PIECES, KNOWN]), max_size=12))
@example([KNOWN, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\n", KNOWN, KNOWN])
@example([b"GET / HTTP/1.1\r\n", KNOWN, KNOWN])
def test_what_is_known_is_known_between_requests_only(pieces: list[bytes]) -> None:
    """Bytes that are known are a request where one may begin; in the middle of another, they are a part of it."""
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert talk(pieces, lambda data, _: (answer, True) if data == KNOWN else None) == talk(pieces)

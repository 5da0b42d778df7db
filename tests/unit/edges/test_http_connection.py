"""One connection fed with whatever hypothesis makes of requests: how the bytes are cut changes no answer."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import socket
from collections.abc import Callable

import httptools
import pytest
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
    """What the connection writes to, as a socket that is read at once. `sent_far` went before hops were limited."""

    family = socket.AF_INET
    sent_far = b""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.closed, self.deaf = b"", False, False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("10.0.0.7", 40_000), "socket": self}.get(name, default)

    def fileno(self) -> int:
        return 3

    def setsockopt(self, *_: int) -> None:
        self.sent_far = self.sent

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
    hops = 1 if request.path == "/near" else 0
    return Reply(204 if request.path == "/known" else 200, request.method.encode(), hops=hops)


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


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def crowd(number: int) -> tuple[HttpServer, list[tuple[Connection, Wire]]]:
    """Return a server with so many clients. Call it inside the running loop."""
    server = HttpServer(handled, clock=FakeClock(), limits=LIMITS, log=Log())
    clients = [(Connection(server), Wire()) for _ in range(number)]
    for connection, wire in clients:
        connection.connection_made(wire)
    return server, clients


def test_answers_to_what_came_together_leave_together() -> None:
    """When all was read that had come, but where that is much. Who asks without waiting has an answer kept at most."""

    async def run() -> None:
        _, clients = crowd(18)
        for connection, _ in clients[:15]:
            connection.data_received(GET)
        assert not any(wire.sent for _, wire in clients)
        clients[15][0].data_received(GET)
        assert [statuses(wire.sent) for _, wire in clients] == [[200]] * 16 + [[]] * 2
        clients[16][0].data_received(GET)
        clients[17][0].data_received(GET * 3)
        assert [statuses(wire.sent) for _, wire in clients[16:]] == [[], [200, 200]]
        await asyncio.sleep(0)
        assert [statuses(wire.sent) for _, wire in clients[16:]] == [[200], [200] * 3]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("then", "status"),
    [
        (lambda _, connection, wire: connection.eof_received() or wire.close(), [200]),
        (lambda server, *_: server.close(0.0), [200]),
        (lambda _, connection, __: connection.cut_off(), [200]),
        (lambda _, connection, __: connection.data_received(b"GET / HTTP/1.0\r\n\r\n"), [200, 200]),
        (lambda _, connection, __: connection.data_received(b"\0"), [200, 400]),
    ],
    ids=["it says no more", "the server ends", "there is no room", "it asks for the last time", "it sends nonsense"],
)
def test_an_answer_is_not_lost_before_it_leaves(then: Callable[..., object], status: list[int]) -> None:
    async def run() -> None:
        server, [(connection, wire)] = crowd(1)
        connection.data_received(GET)
        found = then(server, connection, wire)
        if inspect.isawaitable(found):
            await found
        assert statuses(wire.sent) == status
        await asyncio.sleep(0)
        assert statuses(wire.sent) == status, "once"

    asyncio.run(run())


def test_an_answer_goes_as_far_as_it_may_whatever_comes_after_it() -> None:
    async def run() -> None:
        _, [(connection, wire)] = crowd(1)
        connection.data_received(GET + GET.replace(b"/", b"/near", 1))
        await asyncio.sleep(0)
        assert (statuses(wire.sent_far), statuses(wire.sent)) == ([200], [200, 200])

    asyncio.run(run())


KNOWN = b"GET /known HTTP/1.1\r\nHost: a\r\n\r\n"


@settings(max_examples=100)
@given(st.lists(st.sampled_from([*PIECES, KNOWN]), max_size=12))
@example([KNOWN, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\n", KNOWN, KNOWN])
@example([b"GET / HTTP/1.1\r\n", KNOWN, KNOWN])
def test_what_is_known_is_known_between_requests_only(pieces: list[bytes]) -> None:
    """Bytes that are known are a request where one may begin; in the middle of another, they are a part of it."""
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert talk(pieces, lambda data, _: (answer, True) if data == KNOWN else None) == talk(pieces)

"""The short way through the HTTP server: only for one whole request, and only in its turn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine

import pytest

from rolecall.core.exchange import Reply, Request
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.sockets import bind_tcp
from rolecall.edges.telemetry import Log

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
KNOWN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nknown"


class Served:
    """A server whose handler says what it read, and whose short way knows the bytes `known`."""

    def __init__(self, known: bytes = b"", keep: bool = True) -> None:
        self.read: list[Request] = []
        self.asked: list[bytes] = []
        self.gate = asyncio.Event()
        self.known, self.keep = known, keep

    async def handler(self, request: Request) -> Reply:
        self.read.append(request)
        if request.path == "/slow":
            await self.gate.wait()
        return Reply(200, b"read" + request.path.encode())

    def quick(self, raw: bytes, peer: str) -> tuple[bytes, bool] | None:
        self.asked.append(raw)
        return (KNOWN, self.keep) if raw == self.known else None


def conversation(served: Served, work: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine]) -> None:
    """Serve, connect, and run a test's coroutine with the connection."""

    async def run() -> None:
        server = HttpServer(
            served.handler, clock=SystemClock(), limits=ServerLimits(idle=5), log=Log(), quick=served.quick
        )
        listener = bind_tcp("127.0.0.1", 0)
        address: tuple[str, int] = listener.getsockname()
        await server.listen(listener)
        reader, writer = await asyncio.open_connection(*address)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.wait_for(work(reader, writer), 10)
        finally:
            writer.close()
            await server.close(0.0)

    asyncio.run(run())


async def bodies(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """Read that many answers, and return their bodies."""
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        found.append(await reader.readexactly(int(length.partition(b":")[2])))
    return found


def test_known_bytes_are_not_read() -> None:
    """The handler never sees them; what comes after on the connection is read as ever."""
    served = Served(known=GET)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for raw, body in ((GET, b"known"), (GET, b"known"), (GET.replace(b"/a", b"/b"), b"read/b"), (GET, b"known")):
            writer.write(raw)
            assert await bodies(reader, 1) == [body]
        assert [request.path for request in served.read] == ["/b"]

    conversation(served, work)


def test_a_request_that_came_alone_has_its_bytes() -> None:
    """Those that it came as, which is what may be known later; not where it came in pieces, with others, or a body."""
    served = Served()

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await bodies(reader, 1)
        writer.write(GET[:10])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(GET[10:])
        await bodies(reader, 1)
        writer.write(GET + GET)
        await bodies(reader, 2)
        writer.write(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n\r\n\r\n")
        await bodies(reader, 1)
        assert [request.raw for request in served.read] == [GET, b"", b"", b"", b""]

    conversation(served, work)


def test_an_answer_waits_for_its_turn() -> None:
    """Known bytes behind a request that is still being answered are not answered first (RFC 9112 §9.3.2)."""
    served = Served(known=GET)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET.replace(b"/a", b"/slow"))
        await asyncio.sleep(0.05)
        writer.write(GET)
        await asyncio.sleep(0.05)
        served.gate.set()
        assert await bodies(reader, 2) == [b"read/slow", b"read/a"]

    conversation(served, work)


def test_half_a_request_is_never_known() -> None:
    """The second half of one that happens to equal known bytes belongs to the first half."""
    served = Served(known=GET)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(GET))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(GET)
        assert await bodies(reader, 1) == [b"read/b"]
        assert served.read[0].body == GET

    conversation(served, work)


@pytest.mark.parametrize("keep", [True, False], ids=["stays", "closes"])
def test_the_connection_stays_as_the_answer_says(keep: bool) -> None:
    """It is closed after an answer that closes, and open after another."""
    served = Served(known=GET, keep=keep)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        assert await bodies(reader, 1) == [b"known"]
        if not keep:
            assert await reader.read() == b""
        else:
            writer.write(GET)
            assert await bodies(reader, 1) == [b"known"]

    conversation(served, work)


def test_a_busy_connection_is_not_idle_and_a_quiet_one_ends() -> None:
    """Known answers keep a connection, silence ends it."""
    served = Served(known=GET)

    async def run() -> None:
        server = HttpServer(
            served.handler, clock=SystemClock(), limits=ServerLimits(idle=1.0), log=Log(), quick=served.quick
        )
        listener = bind_tcp("127.0.0.1", 0)
        address: tuple[str, int] = listener.getsockname()
        await server.listen(listener)
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(8):
            writer.write(GET)
            assert await bodies(reader, 1) == [b"known"]
            await asyncio.sleep(0.2)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        await server.close(0.0)

    asyncio.run(run())


def test_one_address_cannot_take_every_connection() -> None:
    """The connections of one address are bounded below those of all; what is closed may be opened again."""

    async def run() -> None:
        served = Served()
        limits = ServerLimits(idle=5, connections_of_one=3)
        server = HttpServer(served.handler, clock=SystemClock(), limits=limits, log=Log())
        listener = bind_tcp("127.0.0.1", 0)
        address: tuple[str, int] = listener.getsockname()
        await server.listen(listener)

        opened: list[asyncio.StreamWriter] = []

        async def status(source: str) -> tuple[bytes, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
            opened.append(writer)
            writer.write(GET)
            return (await reader.readline()).split()[1], writer

        first = [await status("127.0.0.1") for _ in range(3)]
        assert [code for code, _ in first] == [b"200"] * 3
        assert (await status("127.0.0.1"))[0] == b"503"
        assert (await status("127.0.0.2"))[0] == b"200"
        first[0][1].close()
        await first[0][1].wait_closed()
        await asyncio.sleep(0.1)
        assert (await status("127.0.0.1"))[0] == b"200"
        await server.close(0.0)
        for writer in opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)
        assert not server.of_peer

    asyncio.run(asyncio.wait_for(run(), 10))


def test_an_address_that_asks_too_fast_waits_and_others_do_not() -> None:
    """Nobody is refused: the fast one is read at a bounded pace, on all its connections together."""

    async def run() -> None:
        served = Served()
        limits = ServerLimits(idle=5, requests_of_one=40.0)
        server = HttpServer(served.handler, clock=SystemClock(), limits=limits, log=Log())
        listener = bind_tcp("127.0.0.1", 0)
        address: tuple[str, int] = listener.getsockname()
        await server.listen(listener)
        counts = {"127.0.0.1": 0, "127.0.0.2": 0}

        async def keep_asking(peer: str, pause: float) -> None:
            reader, writer = await asyncio.open_connection(*address, local_addr=(peer, 0))
            try:
                while True:
                    writer.write(GET)
                    assert await bodies(reader, 1) == [b"read/a"]
                    counts[peer] += 1
                    await asyncio.sleep(pause)
            finally:
                writer.close()

        asking = [asyncio.create_task(keep_asking("127.0.0.1", 0)) for _ in range(4)]
        asking.append(asyncio.create_task(keep_asking("127.0.0.2", 0.05)))
        began = time.monotonic()
        while time.monotonic() - began < 1.5 or counts["127.0.0.1"] < 20 or counts["127.0.0.2"] < 15:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        lasted = time.monotonic() - began
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await server.close(0.0)
        assert counts["127.0.0.1"] <= 60 + 40 * lasted, (counts, lasted)

    asyncio.run(asyncio.wait_for(run(), 20))

"""Many clients, and greedy ones: what one address takes is bounded, and costs another address nothing.

On both event loops: they differ in when they begin to read from a new connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import uvloop

from rolecall.core.exchange import Reply, Request
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.sockets import bind_tcp
from rolecall.edges.telemetry import Log

GREEDY, MODEST, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: closing sends RST
KNOWN = b"GET /known HTTP/1.1\r\nHost: h\r\n\r\n"


def get(path: str, *fields: str) -> bytes:
    """Return a request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


@dataclass
class Crowd:
    """A server, the clients that a scene opens, and what was asked."""

    server: HttpServer
    port: int
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[tuple[str, str]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, source: str, data: bytes = b"") -> Client:
        """Open a connection from an address, and send that."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        self.writers.append(writer)
        writer.write(data)
        return Client(reader, writer)

    async def served(self, source: str) -> bool:
        """Say whether a new connection of that address is served."""
        return await (await self.connect(source, get("/now"))).status() == 200

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer, or wait for the gate."""
        self.seen.append((request.peer, request.path))
        return self._later() if request.path == "/slow" else Reply(200, bytes(3000))

    async def _later(self) -> Reply:
        await self.gate.wait()
        return Reply(200)


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def status(self) -> int:
        """Read an answer, and return its status; 0 where the connection has ended."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            await self.reader.readexactly(int(length))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return 0
        return int(head.split()[1])


async def until(done: Callable[[], object]) -> None:
    """Let others run until it is done; the scene's own bound ends a wait in vain."""
    while not done():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


Play = Callable[..., None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Run a scene with a server of these limits; nothing may be left of its clients then."""

    async def run(scene: Callable[[Crowd], Awaitable[None]], limits: ServerLimits) -> None:
        faults: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        listener = bind_tcp("127.0.0.1", 0)
        crowd: Crowd
        server = HttpServer(
            lambda asked: crowd.handle(asked),  # noqa: PLW0108  the crowd needs the server first
            clock=SystemClock(),
            limits=limits,
            log=Log(),
            quick=lambda raw, _peer: (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True) if raw == KNOWN else None,
        )
        crowd = Crowd(server, listener.getsockname()[1])
        await server.listen(listener)
        try:
            async with asyncio.timeout(20):
                await scene(crowd)
                for writer in crowd.writers:
                    writer.transport.abort()
                crowd.gate.set()
                await until(lambda: not (server.connections or server.turned_away or server.kept.total))
        finally:
            for writer in crowd.writers:
                writer.transport.abort()
            crowd.gate.set()
            await server.close(0.0)
        assert not faults
        assert (len(server.of_peer), len(server.kept)) == (0, 0)

    def start(scene: Callable[[Crowd], Awaitable[None]], **limits: float) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(run(scene, ServerLimits(**limits)))  # type: ignore[arg-type]

    return start


# --- requests ----------------------------------------------------------------------------------------------


def test_new_connections_of_an_address_that_is_too_fast_wait_too(play: Play) -> None:
    """It gains nothing by closing and opening; what it sends early is answered later, in its order."""

    async def scene(crowd: Crowd) -> None:
        first = await crowd.connect(GREEDY, get("/first") * 20)
        await until(lambda: len(crowd.seen) == 20)
        later = await crowd.connect(GREEDY, get("/later") + get("/last", "Connection: close"))
        later.writer.write_eof()
        for number in range(20):
            assert await crowd.served(f"127.0.1.{number}")
        assert (GREEDY, "/later") not in crowd.seen
        assert [await first.status() for _ in range(20)] == [200] * 20
        assert [await later.status() for _ in range(3)] == [200, 200, 0]
        assert [path for peer, path in crowd.seen if peer == GREEDY][20:] == ["/later", "/last"]

    play(scene, requests_of_one=10.0)


def test_what_is_known_does_not_wait(play: Play) -> None:
    """An SDK that opens a connection for each request is answered, whatever its neighbours behind the address do."""

    async def scene(crowd: Crowd) -> None:
        await crowd.connect(GREEDY, get("/first") * 20)
        await until(lambda: len(crowd.seen) == 20)
        for _ in range(20):
            assert await (await crowd.connect(GREEDY, KNOWN)).status() == 200
        assert len(crowd.seen) == 20

    play(scene, requests_of_one=5.0)


def test_whoever_sends_much_before_its_turn_is_cut_off(play: Play) -> None:
    """A thousand connections that wait would hold a thousand buffers."""

    async def scene(crowd: Crowd) -> None:
        await crowd.connect(GREEDY, get("/first") * 20)
        await until(lambda: len(crowd.seen) == 20)
        early = await crowd.connect(GREEDY, get("/early", f"x: {'x' * 9000}"))
        assert await early.status() == 0
        assert (crowd.server.cut_off, len(crowd.seen)) == (1, 20)

    play(scene, requests_of_one=5.0)


# --- connections -------------------------------------------------------------------------------------------


def test_two_addresses_cannot_take_every_connection(play: Play) -> None:
    """A third gets in: the oldest idle connection of whoever has most goes. It gets no more than the others have."""

    async def scene(crowd: Crowd) -> None:
        oldest = await crowd.connect(GREEDY, get("/slow"))
        idle = await crowd.connect(GREEDY, get("/now"))
        assert await idle.status() == 200
        rest = [await crowd.connect(GREEDY, get("/now")[:20]) for _ in range(4)]
        rest += [await crowd.connect(MODEST) for _ in range(4)]
        await until(lambda: len(crowd.server.connections) == 10)
        assert await crowd.served(THIRD)
        assert await idle.status() == 0, "the oldest of those that nobody waits for"
        assert [await crowd.served(THIRD) for _ in range(3)] == [True, True, False]
        assert sorted(map(len, crowd.server.of_peer.values())) == [3, 3, 4]
        crowd.gate.set()
        assert await oldest.status() == 200

    play(scene, connections=10, connections_of_one=6)


# --- memory ------------------------------------------------------------------------------------------------


def test_half_read_requests_of_one_address_are_bounded(play: Play) -> None:
    """Heads that are sent and never ended fill the share of their address, which is refused more; others are not."""

    async def scene(crowd: Crowd) -> None:
        half = get("/half", *(f"x{number}: {'x' * 1000}" for number in range(5)))[:-2]
        refused = []
        for _ in range(8):
            before = crowd.server.kept.total, crowd.server.refused[503]
            client = await crowd.connect(GREEDY, half)
            await until(lambda now=before: (crowd.server.kept.total, crowd.server.refused[503]) != now)
            refused += [client] if crowd.server.refused[503] > before[1] else []
        assert (crowd.server.refused[503], await refused[0].status()) == (5, 503)
        assert 15_000 < crowd.server.kept.total <= 20_000
        assert await crowd.served(MODEST)

    play(scene, kept=1_000_000, kept_of_one=20_000)


def test_fields_count_as_what_they_take_in_memory(play: Play) -> None:
    """A hundred fields of a letter are few bytes on the wire, and many here."""

    async def scene(crowd: Crowd) -> None:
        clients = [await crowd.connect(GREEDY, get("/slow", *["x:"] * 100)) for _ in range(10)]
        await until(lambda: len(crowd.seen) == 4)
        await until(lambda: crowd.server.refused[503] == 6)
        crowd.gate.set()
        assert sorted([await client.status() for client in clients]) == [200] * 4 + [503] * 6
        await until(lambda: not crowd.server.kept.total)
        assert await crowd.served(GREEDY), "what was answered is kept no longer"

    play(scene, kept_of_one=85_000)


def test_whoever_leaves_frees_nothing_before_it_is_answered(play: Play) -> None:
    """Asking and hanging up at once would fill the memory unseen, while upstream is slow."""

    async def scene(crowd: Crowd) -> None:
        for number in range(10):
            client = await crowd.connect(GREEDY, get("/slow", f"x: {'x' * 9000}"))
            await until(lambda seen=number: len(crowd.seen) > seen or crowd.server.refused[503])
            taken = client.writer.get_extra_info("socket")
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.writer.transport.abort()
            await until(lambda: not crowd.server.connections)
        assert len(crowd.seen) == 2, "each is kept as it was read, and as it came"
        assert await crowd.served(MODEST)

    play(scene, kept_of_one=50_000)


def test_answers_that_nobody_reads_are_few(play: Play) -> None:
    """A client that asks and never reads is read from no more, long before the kernel's buffers are full of answers."""

    async def scene(crowd: Crowd) -> None:
        client = await crowd.connect(GREEDY)
        client.reader._limit = 1  # nothing is read here
        taken = client.writer.get_extra_info("socket")
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = -1
        while before != len(crowd.seen):
            before = len(crowd.seen)
            for _ in range(40):
                client.writer.write(get("/much"))
            await asyncio.sleep(0.1)
        assert len(crowd.seen) < 500, "the answers to those are 1.5 MB"
        assert await crowd.served(MODEST)

    play(scene)

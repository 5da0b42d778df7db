"""The agent's HTTP server over real sockets, byte by byte, on both event loops."""

from __future__ import annotations

import asyncio
import json
import socket
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

GET = b"GET /echo HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass
class Answer:
    """What came back, read by the rules of RFC 9112 and not by our own code."""

    status: int
    headers: dict[str, str]
    body: bytes
    phrase: str = ""


@dataclass
class Client:
    """A raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def send_for_ever(self, data: bytes) -> None:
        """Write the same bytes again and again, until the server has ended the connection."""
        while True:
            await self.send(data)
            await asyncio.sleep(0.01)

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        version, status, phrase = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(headers) == len(lines), "no header comes twice"
        length = 0 if method == "HEAD" or status == "204" else int(headers["content-length"])
        return Answer(int(status), headers, await self.reader.readexactly(length), phrase)

    async def ends(self) -> bool:
        """Wait until the server has ended the connection, and say whether nothing came before that."""
        return await self.reader.read() == b""


@dataclass
class Door:
    """A server with a handler that does what the path says."""

    server: HttpServer
    port: int
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[Request] = field(default_factory=list)
    finished: int = 0

    async def connect(self) -> Client:
        """Open a connection."""
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def exchange(self, data: bytes) -> tuple[Answer, bool]:
        """Send bytes on a connection of their own; return the answer and whether the server ended it then."""
        client = await self.connect()
        await client.send(data)
        answer = await client.answer()
        closed = answer.headers.get("connection") == "close"
        if closed:
            assert await client.ends()
        client.writer.close()
        return answer, closed

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer."""
        self.seen.append(request)
        match request.path.split("/")[1:]:
            case ["slow", *_]:
                return self._slow(request)
            case ["crash"]:
                raise ZeroDivisionError("a token, for example")
            case ["crash-later"]:
                return self._crash()
            case ["status", status]:
                return Reply(int(status), b"words", (("content-type", "text/plain"),))
            case ["large"]:
                return Reply(200, bytes(65_536))
        shown = [request.method, request.target, request.body.decode("latin-1"), request.headers, request.peer]
        return Reply(200, json.dumps(shown).encode(), (("content-type", "application/json"),))

    async def _slow(self, request: Request) -> Reply:
        await self.gate.wait()
        self.finished += 1
        return Reply(200, request.target.encode())

    async def _crash(self) -> Reply:
        raise ZeroDivisionError("a token, for example")


async def until(done: Callable[[], object]) -> None:
    """Let others run until it is done; the scene's own bound ends a wait in vain."""
    while not done():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


Scene = Callable[[Door], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Run a scene against a server on a port of its own; a defect that asyncio would only log fails the test."""

    async def run(scene: Scene, limits: ServerLimits) -> None:
        faults: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        listener = bind_tcp("127.0.0.1", 0)
        door: Door
        server = HttpServer(
            lambda asked: door.handle(asked),  # noqa: PLW0108  the door needs the server first
            clock=SystemClock(),
            limits=limits,
            log=Log(),
        )
        door = Door(server, listener.getsockname()[1])
        await server.listen(listener)
        try:
            async with asyncio.timeout(20):
                await scene(door)
        finally:
            door.gate.set()
            await server.close(0.0)
            await asyncio.sleep(0.01)
        assert not faults
        assert not server.connections

    def start(scene: Scene, **limits: float) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(run(scene, ServerLimits(**limits)))  # type: ignore[arg-type]

    return start


def test_a_request_arrives_as_it_was_sent(play: Play) -> None:
    """Raw target, lower-case names in order, body, peer; the answer has length and date, and the connection stays."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        for _ in range(2):
            await client.send(
                b"POST /echo?a=%2F&b HTTP/1.1\r\nHost: here\r\nX-Two:  1 \r\nx-two:\r\nContent-Length: 4\r\n\r\n"
                b"\x00\r\n\xff"
            )
            answer = await client.answer()
            method, target, body, headers, peer = json.loads(answer.body)
            assert (method, target, body, peer) == ("POST", "/echo?a=%2F&b", "\x00\r\n\xff", "127.0.0.1")
            assert headers == [["host", "here"], ["x-two", "1"], ["x-two", ""], ["content-length", "4"]]
            assert (answer.status, answer.phrase) == (200, "OK")
            assert answer.headers["date"].endswith(" GMT")
            assert "connection" not in answer.headers
        client.writer.close()

    play(scene)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="TLS hello"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2 preface"),
        pytest.param(b"GET /\r\n\r\n", 505, id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, id="HTTP/2.0"),
        pytest.param(b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400, id="HTTP/9.9"),
        pytest.param(b"NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="method"),
        pytest.param(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="space in target"),
        pytest.param(b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="target not ASCII"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, id="bare LF"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400, id="blank before colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400, id="folded line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n", 400, id="NUL in a value"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, id="no name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, id="host twice"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nauthorization: y\r\n\r\n", 400, id="tokens"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, id="length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            id="length and chunks",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
            id="chunks and length",
        ),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, id="unknown coding"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, id="chunk size"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", 400, id="chunk too long"
        ),
        pytest.param(b"GET /" + b"a" * 140_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, id="target too long"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 140_000 + b"\r\n\r\n", 431, id="head too large"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 500_000, 431, id="a line without end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 128 + b"\r\n", 431, id="too many fields"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n" + bytes(1_048_576), 413, id="1 MiB body"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%s1\r\na\r\n0\r\n\r\n"
            % (4 * (b"4000\r\n" + bytes(0x4000) + b"\r\n")),
            413,
            id="64 KiB and a byte in chunks",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 500_000,
            431,
            id="a chunk extension without end",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_and_the_connection_ends(play: Play, data: bytes, status: int) -> None:
    """The status says what was wrong, in text that repeats nothing of it; no handler is asked.

    The client has sent all of it before it reads, as simple clients do: the answer must survive that.
    """

    async def scene(door: Door) -> None:
        answer, closed = await door.exchange(data)
        phrases = {
            400: ["Bad Request"],
            413: ["Content Too Large", "Request Entity Too Large"],  # RFC 9110, and RFC 7231 before it
            431: ["Request Header Fields Too Large"],
            505: ["HTTP Version Not Supported"],
        }
        assert (answer.status, closed) == (status, True)
        assert answer.phrase in phrases[status]
        assert answer.body.decode().startswith(f"{status} {answer.phrase}")
        assert answer.body.endswith(b"\n")
        assert len(answer.body) < 100
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert door.seen == []

    play(scene)


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_a_body_up_to_the_bound_is_taken(play: Play, size: int) -> None:
    """64 KiB, by length and in chunks, one byte at a time at a chunk's border too."""

    async def scene(door: Door) -> None:
        body = bytes(size)
        by_length = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body
        chunk = b"%x\r\n%s\r\n" % (size, body) if size else b""
        chunked = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
        for data in (by_length, chunked):
            answer, _ = await door.exchange(data)
            assert (answer.status, door.seen[-1].body) == (200, body)

    play(scene)


def test_a_request_may_come_in_pieces(play: Play) -> None:
    """Wherever TCP cuts it, byte by byte, it is one request."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        client.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        for byte in data:
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        answer = await client.answer()
        assert json.loads(answer.body)[:3] == ["POST", "/echo", "abc"]
        client.writer.close()

    play(scene)


def test_fields_after_a_chunked_body_are_not_headers(play: Play) -> None:
    """A trailer cannot bring in a Host or a token behind the checks (RFC 9110 §6.5.1)."""

    async def scene(door: Door) -> None:
        answer, _ = await door.exchange(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\nHost: b\r\nAuthorization: c\r\n\r\n"
        )
        assert answer.status == 200
        assert json.loads(answer.body)[3] == [["host", "a"], ["transfer-encoding", "chunked"]]

    play(scene)


def test_answers_come_in_the_order_of_the_requests(play: Play) -> None:
    """A slow one holds up what was sent behind it; HEAD has a length and no body (RFC 9112 §9.3.2)."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        await client.send(
            b"GET /slow/1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET /slow/2 HTTP/1.1\r\nHost: a\r\n\r\n" + GET * 50
        )
        await until(lambda: door.seen)
        assert [request.target for request in door.seen] == ["/slow/1"], "one at a time"
        door.gate.set()
        assert (await client.answer()).body == b"/slow/1"
        head = await client.answer("HEAD")
        assert int(head.headers["content-length"]) > 20
        assert (await client.answer()).body == b"/slow/2"
        for _ in range(50):
            assert json.loads((await client.answer()).body)[1] == "/echo"
        client.writer.close()

    play(scene)


def test_what_cannot_be_read_waits_its_turn(play: Play) -> None:
    """A broken request behind a good one that is under way: the good one is answered, then the broken one."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        await client.send(b"GET /slow/1 HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"NONSENSE\r\n\r\n" + GET)
        await until(lambda: door.seen)
        door.gate.set()
        assert (await client.answer()).body == b"/slow/1"
        assert (await client.answer()).status == 200
        last = await client.answer()
        assert (last.status, last.headers["connection"]) == (400, "close")
        assert await client.ends()
        client.writer.close()

    play(scene)


def test_requests_before_their_turn_are_bounded(play: Play) -> None:
    """Who sends a thousand requests behind a slow one gets some answers, then 429 in its turn."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + GET * 1000)
        await until(lambda: door.seen)
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert len(door.seen) == 1
        door.gate.set()
        statuses = []
        while not statuses or statuses[-1] == 200:
            answer = await client.answer()
            statuses.append(answer.status)
        assert statuses[-1] == 429
        assert answer.headers["retry-after"] == "1"
        assert 100 <= len(statuses) < 1000
        assert await client.ends()
        client.writer.close()

    play(scene)


def test_a_client_that_does_not_read_is_not_served_on(play: Play) -> None:
    """Its answers do not pile up in memory, and after the idle time the connection ends."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):
            await client.send_for_ever(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        assert len(door.seen) < 2000, "128 MB would be that many"
        client.writer.close()

    play(scene, idle=0.3)


def test_a_client_that_reads_slowly_is_served(play: Play) -> None:
    """Reading and answering stop while its buffers are full, and go on when they are not."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        count = 100  # 6.5 MB of answers
        sending = asyncio.create_task(client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" * count))
        await asyncio.sleep(0.05)
        assert len(door.seen) < count
        for _ in range(count):
            assert len((await client.answer()).body) == 65_536
        await sending
        client.writer.close()

    play(scene)


def test_a_head_that_never_ends_ends_the_connection(play: Play) -> None:
    """However regularly bytes drip in, a request has so long to arrive; an idle connection has as long."""

    async def scene(door: Door) -> None:
        idle, slow = await door.connect(), await door.connect()
        await idle.send(GET)
        await idle.answer()

        await slow.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        dripping = asyncio.create_task(slow.send_for_ever(b"a"))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await slow.answer()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await idle.answer()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        for client in (idle, slow):
            client.writer.close()

    play(scene, idle=0.25)


def test_a_refused_client_cannot_stay(play: Play) -> None:
    """It may go on sending for a moment, so that it reads the answer, and is cut off then."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        await client.send(b"NONSENSE\r\n\r\n")
        assert (await client.answer()).status == 400
        with pytest.raises(ConnectionError):
            await client.send_for_ever(bytes(1000))
        client.writer.close()

    play(scene, linger=0.1)


def test_a_client_that_goes_away_costs_nothing_but_its_answer(play: Play) -> None:
    """The handler under way finishes for whoever shares its work; one that only closed its half is answered."""

    async def scene(door: Door) -> None:
        gone, half = await door.connect(), await door.connect()
        for client in (gone, half):
            await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: len(door.seen) == 2)
        gone.writer.transport.abort()
        half.writer.write_eof()
        await asyncio.sleep(0.02)
        door.gate.set()
        answer = await half.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await half.ends()
        await until(lambda: door.finished == 2)
        half.writer.close()

    play(scene)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", id="asked for"),
        pytest.param(b"GET /echo HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", id="HTTP/1.0 with keep-alive"),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
            id="an upgrade that is not offered",
        ),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET, id="with more behind it"),
        pytest.param(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nbytes of a tunnel", id="a tunnel"),
    ],
)
def test_the_answer_says_that_the_connection_ends(play: Play, data: bytes) -> None:
    """One answer, then the end. An upgrade is ignored (RFC 9110 §7.8): Java's client offers one every time."""

    async def scene(door: Door) -> None:
        answer, closed = await door.exchange(data)
        assert (answer.status, closed, len(door.seen)) == (200, True, 1)

    play(scene)


def test_a_defect_in_a_handler_is_answered_and_shows_nothing(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """500, without the message: it might quote a token. The connection goes on, the log has the place."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        for path in (b"/crash", b"/crash-later"):
            await client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            answer = await client.answer()
            assert answer.status == 500
            assert b"token" not in answer.body
        client.writer.close()

    play(scene)
    crashes = [record for record in caplog.records if record.message == "http.handler_crashed"]
    assert [record.fields["kind"] for record in crashes] == ["ZeroDivisionError"] * 2  # type: ignore[attr-defined]
    assert "a token, for example" not in str([vars(record) for record in crashes])


@pytest.mark.parametrize(("status", "body"), [(204, b""), (418, b"words"), (460, b"words"), (599, b"words")])
def test_any_status_can_be_answered(play: Play, status: int, body: bytes) -> None:
    """Also one that has no name, as load balancers have some: an upstream's status is handed on."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        await client.send(b"GET /status/%d HTTP/1.1\r\nHost: a\r\n\r\n" % status + GET)
        answer = await client.answer()
        assert (answer.status, answer.body) == (status, body)
        assert (await client.answer()).status == 200, "the answers stay in step"
        client.writer.close()

    play(scene)


def test_connections_are_bounded(play: Play) -> None:
    """One too many is told so; room is made when another ends."""

    async def scene(door: Door) -> None:
        first, second = await door.connect(), await door.connect()
        for client in (first, second):
            await client.send(GET)
            assert (await client.answer()).status == 200
        answer, closed = await door.exchange(GET)
        assert (answer.status, closed, answer.headers["retry-after"]) == (503, True, "1")
        assert b"too many connections" in answer.body
        first.writer.close()
        await until(lambda: len(door.server.connections) == 1)
        answer, _ = await door.exchange(GET)
        assert answer.status == 200
        second.writer.close()

    play(scene, connections=2)


def test_the_crowd_before_a_full_door_is_bounded_too(play: Play) -> None:
    """Of those turned away only so many are waited for."""

    async def scene(door: Door) -> None:
        crowd = [await door.connect() for _ in range(100)]
        await until(lambda: len(door.server.turned_away) == 64)
        await asyncio.sleep(0.02)
        assert (len(door.server.connections), len(door.server.turned_away)) == (1, 64)
        for client in crowd:
            client.writer.close()

    play(scene, connections=1)


def test_closing_answers_what_is_under_way(play: Play) -> None:
    """No new connections, idle ones end, requests under way are answered; who takes longer is cut off."""

    async def scene(door: Door) -> None:
        idle, busy = await door.connect(), await door.connect()
        await idle.send(GET)
        await idle.answer()
        await busy.send(b"GET /slow/1 HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        await until(lambda: len(door.seen) == 2)
        closing = asyncio.create_task(door.server.close(10.0))
        assert await idle.ends()
        with socket.socket() as late:
            assert late.connect_ex(("127.0.0.1", door.port)) != 0
        door.gate.set()
        answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"/slow/1", "close")
        assert await busy.ends()
        await closing
        for client in (idle, busy):
            client.writer.close()

    play(scene)


def test_closing_does_not_wait_for_ever(play: Play) -> None:
    """After the drain time whoever is left is cut off."""

    async def scene(door: Door) -> None:
        busy = await door.connect()
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: door.seen)
        await door.server.close(0.05)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await busy.answer()
        busy.writer.close()

    play(scene)


def test_connections_and_refusals_are_counted(play: Play) -> None:
    """What an operator looks at: how many came, how many requests are under way, what could not be read."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        await client.send(b"GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")
        await until(lambda: door.server.in_flight == 1)
        for data, status in ((b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nA: " + b"x" * 300_000, 431)):
            answer, _ = await door.exchange(data)
            assert answer.status == status
        assert (door.server.accepted, door.server.refused) == (3, {400: 1, 431: 1})
        door.gate.set()
        assert (await client.answer()).status == 200
        assert door.server.in_flight == 0
        client.writer.close()

    play(scene)


def test_a_client_that_does_not_read_does_not_delay_the_end(play: Play) -> None:
    """Who has been answered is waited for only briefly, however long requests in flight may take."""

    async def scene(door: Door) -> None:
        client = await door.connect()
        client.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(60):
            await client.send(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
        await until(lambda: door.seen)
        await asyncio.wait_for(door.server.close(60.0), 10.0)
        assert not door.server.connections
        client.writer.transport.abort()

    play(scene)


def test_a_socket_of_this_machine_is_served_as_well(play: Play, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With the same bounds, and a peer without an address."""

    async def scene(door: Door) -> None:
        path = tmp_path_factory.mktemp("unix") / "s"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.setblocking(False)
            server = HttpServer(door.handle, clock=SystemClock(), limits=ServerLimits(), log=Log())
            await server.listen(listener)
            client = Client(*await asyncio.open_unix_connection(str(path)))
            await client.send(GET)
            assert (await client.answer()).status == 200
            assert door.seen[-1].peer == ""
            client.writer.close()
            await server.close(1.0)

    play(scene)

"""TLS of a listener: a certificate that changes while it serves, and who is let in, on both event loops."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvloop

from integration.edges.authority import Authority
from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.edges import handshakes
from rolecall.edges.clock import SystemClock
from rolecall.edges.handshakes import Handshakes
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.sockets import bind_tcp
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


class Pair:
    """An authority, a certificate and key that it signed for ``here``, and those of a client, ``caller``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        made = Authority(folder)
        certificate, key = made.pair("here")
        self.authority, self.client = made.file, made.pair("caller", client=True)
        self.certificate, self.key = certificate.read_text(), Secret(key.read_text())

    def trusted(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Return a client's context that believes this authority alone."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.maximum_version = version
        return context


@pytest.fixture
def old(tmp_path: Path) -> Pair:
    """The first certificate."""
    return Pair(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Pair:
    """Another one, of another authority."""
    return Pair(tmp_path / "new")


def serve(
    loop: Callable[[], asyncio.AbstractEventLoop], tls: ServerTls, scene: Callable[[int], Awaitable[None]]
) -> None:
    """Run a scene against a server with this TLS."""

    async def handle(request: Request) -> Reply:
        return Reply(200, request.body or b"ok")

    async def run() -> None:
        listener = bind_tcp("127.0.0.1", 0)
        server = HttpServer(handle, clock=SystemClock(), limits=ServerLimits(body=100_000, linger=0.2), log=Log())
        await server.listen(listener, tls)
        try:
            async with asyncio.timeout(20):
                await scene(listener.getsockname()[1])
        finally:
            await server.close(1.0)
        assert not server.connections

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def connect(port: int, context: ssl.SSLContext) -> tuple[Reader, Writer]:
    """Open a connection."""
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="here")


async def ask(reader: Reader, writer: Writer, request: bytes = GET) -> tuple[int, bytes]:
    """Return status and body of the next answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


@LOOPS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_new_certificate_is_shown_and_no_connection_is_dropped(
    loop: Callable[[], asyncio.AbstractEventLoop], version: ssl.TLSVersion, old: Pair, new: Pair
) -> None:
    """Whoever is connected goes on; whoever connects sees the new one, and not the old one."""
    tls = ServerTls()
    assert not tls.ready
    tls.show(old.certificate, old.key)
    assert tls.ready

    async def scene(port: int) -> None:
        before = await connect(port, old.trusted(version))
        assert await ask(*before) == (200, b"ok")
        tls.show(new.certificate, new.key)
        assert await ask(*before) == (200, b"ok")
        after = await connect(port, new.trusted(version))
        assert await ask(*after) == (200, b"ok")
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, old.trusted(version))
        for _, writer in (before, after):
            writer.close()

    serve(loop, tls, scene)


@LOOPS
def test_a_pair_that_does_not_fit_changes_nothing(
    loop: Callable[[], asyncio.AbstractEventLoop], old: Pair, new: Pair
) -> None:
    """Half of a rotation, an empty file, another thing: refused, and the former certificate is shown on."""
    tls = ServerTls()
    tls.show(old.certificate, old.key)
    for certificate, key in ((new.certificate, old.key), ("", old.key), (old.certificate, Secret("")), ("x", new.key)):
        with pytest.raises(Misconfigured) as caught:
            tls.show(certificate, key)
        assert "PRIVATE" not in caught.value.message

    async def scene(port: int) -> None:
        reader, writer = await connect(port, old.trusted())
        assert await ask(reader, writer) == (200, b"ok")
        writer.close()

    serve(loop, tls, scene)


@LOOPS
def test_handshakes_that_stall_shut_out_nobody(loop: Callable[[], asyncio.AbstractEventLoop], old: Pair) -> None:
    """More than may be under way come from one address and say nothing: the oldest of them are cut off."""
    tls = ServerTls()
    tls.show(old.certificate, old.key)

    class Greeting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            peer, sock = transport.get_extra_info("peername"), transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            transport.write(str(peer[0]).encode())  # type: ignore[attr-defined]
            transport.close()

    async def scene(silent: list[socket.socket]) -> None:
        listener = bind_tcp("127.0.0.1", 0)
        port = listener.getsockname()[1]
        served = Handshakes(listener, tls.context, Greeting, most=4)
        for one in silent:
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
        for address in ("127.0.0.1", "127.0.0.2"):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=old.trusted(), server_hostname="here", local_addr=(address, 0)
            )
            assert await reader.read() == address.encode()
            writer.close()
            await writer.wait_closed()
        for one in silent[:6]:
            assert await asyncio.get_running_loop().sock_recv(one, 1) == b""
        given_up = served.unfinished.pop("given-up")
        assert given_up in {7, 8}, "for those that stall, and for the two that speak"
        assert served.unfinished == {"late": 0, "failed": 0}
        served.close()
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    with ExitStack() as stack, asyncio.Runner(loop_factory=loop) as runner:
        silent = [stack.enter_context(socket.socket()) for _ in range(10)]
        runner.run(asyncio.wait_for(scene(silent), 20))


@LOOPS
def test_requests_in_pieces_and_several_at_once(loop: Callable[[], asyncio.AbstractEventLoop], old: Pair) -> None:
    """However records cut them, and from many clients: to each its own answers, in the order of its requests."""
    tls = ServerTls()
    tls.show(old.certificate, old.key)

    def put(body: bytes) -> bytes:
        return b"PUT / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def one(port: int, number: int) -> None:
        reader, writer = await connect(port, old.trusted())
        for round_ in range(3):
            bodies = [b"%d.%d.%d" % (number, round_, each) * 5000 for each in range(3)]
            sent = b"".join(map(put, bodies))
            for start in range(0, len(sent), 20_000 * (1 + number % 3)):
                writer.write(sent[start : start + 20_000 * (1 + number % 3)])
                await writer.drain()
                await asyncio.sleep(0)
            assert [await ask(reader, writer, b"") for _ in bodies] == [(200, body) for body in bodies]
        writer.close()

    async def scene(port: int) -> None:
        await asyncio.gather(*(one(port, number) for number in range(20)))

    serve(loop, tls, scene)


@LOOPS
def test_handshakes_that_come_to_nothing_are_counted(
    loop: Callable[[], asyncio.AbstractEventLoop], old: Pair, new: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "_SECONDS", 0.2)
    tls = ServerTls()
    tls.show(old.certificate, old.key)

    async def scene(port: int) -> None:
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        reader, plain = await asyncio.open_connection("127.0.0.1", port)
        plain.write(GET)
        await reader.read()
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, new.trusted())
        finished = await connect(port, old.trusted())
        assert (await ask(*finished))[0] == 200
        while sum(tls.unfinished.values()) < 3:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        assert tls.unfinished == {"given-up": 0, "late": 1, "failed": 2}
        for writer in (silent, plain, finished[1]):
            writer.close()

    serve(loop, tls, scene)


@LOOPS
def test_the_handshake_begins_at_tls_1_2(loop: Callable[[], asyncio.AbstractEventLoop], old: Pair) -> None:
    """1.1 is refused; where 1.3 is the least, so is 1.2."""
    for tls, version in ((ServerTls(), ssl.TLSVersion.TLSv1_1), (ServerTls(minimum="1.3"), ssl.TLSVersion.TLSv1_2)):
        tls.show(old.certificate, old.key)

        async def scene(port: int, version: ssl.TLSVersion = version) -> None:
            context = old.trusted()
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # 1.1 is what is tried here
                context.minimum_version = context.maximum_version = version
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connect(port, context)

        serve(loop, tls, scene)


@LOOPS
def test_only_certified_clients_get_in_and_of_these_only_the_named(
    loop: Callable[[], asyncio.AbstractEventLoop], old: Pair, new: Pair
) -> None:
    """No certificate, one of another authority, one of another name: refused. The authority can change."""
    tls = ServerTls(client_ca=new.authority.read_text(), client_names=frozenset({"caller"}))
    tls.show(old.certificate, old.key)
    strict = ServerTls(client_ca=new.authority.read_text(), client_names=frozenset({"somebody"}))
    strict.show(old.certificate, old.key)

    def client(pair: Pair | None) -> ssl.SSLContext:
        context = old.trusted()
        if pair is not None:
            context.load_cert_chain(*pair.client)
        return context

    async def once(port: int, pair: Pair | None) -> None:
        reader, writer = await connect(port, client(pair))
        try:
            await ask(reader, writer)  # with TLS 1.3 the refusal comes after the handshake
        finally:
            writer.close()

    async def refused(port: int, pair: Pair | None) -> None:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await once(port, pair)

    async def scene(port: int) -> None:
        await refused(port, None)
        await refused(port, old)
        reader, writer = await connect(port, client(new))
        assert await ask(reader, writer) == (200, b"ok")
        tls.show(old.certificate, old.key, old.authority.read_text())
        assert await ask(reader, writer) == (200, b"ok")
        writer.close()
        await refused(port, new)
        reader, writer = await connect(port, client(old))
        assert await ask(reader, writer) == (200, b"ok")
        writer.close()

    async def of_another_name(port: int) -> None:
        reader, writer = await connect(port, client(new))
        status, body = await ask(reader, writer)
        assert (status, b"another name" in body) == (403, True)
        writer.close()

    serve(loop, tls, scene)
    serve(loop, strict, of_another_name)


@LOOPS
def test_a_refused_client_hears_why_over_tls(loop: Callable[[], asyncio.AbstractEventLoop], old: Pair) -> None:
    """A body over the limit is answered with 413, and then the connection ends."""
    tls = ServerTls()
    tls.show(old.certificate, old.key)

    async def scene(port: int) -> None:
        reader, writer = await connect(port, old.trusted())
        head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 200000\r\n\r\n"
        assert (await ask(reader, writer, head + bytes(200_000)))[0] == 413
        assert await reader.read() == b""
        writer.close()

    serve(loop, tls, scene)

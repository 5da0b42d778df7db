"""HTTP calls to real servers on this machine: answers, bounds, failures in plain words."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from integration.edges.loopback import Page, Server, answer, certify
from rolecall.edges.http_call import CallFailed
from rolecall.edges.http_client import HttpAnswer, HttpClient
from rolecall.edges.tls import ClientTls, TlsFiles
from rolecall.errors import BadInput, Misconfigured, Upstream

WORD = "a-token-that-must-not-be-shown"
in_loop = asyncio.run


@pytest.fixture(autouse=True, params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def _loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play each scene in the loop of the command line and in that of the processes."""
    monkeypatch.setattr(sys.modules[__name__], "in_loop", request.param)


class World:
    """A server and a client."""

    def __init__(self, ca: Path | None = None, **options: Any) -> None:
        self.server = Server()
        self.http = HttpClient(tls=ClientTls(TlsFiles(ca=ca)), **options)
        self.scheme = "http"

    async def call(self, path: str = "/", method: str = "GET", body: bytes = b"", **options: Any) -> HttpAnswer:
        """Call the server, with a secret in the headers."""
        bounds = {"connect_timeout": 2.0, "timeout": 5.0, "longest_body": 1000, **options}
        headers = bounds.pop("headers", (("authorization", WORD),))
        url = bounds.pop("url", f"{self.scheme}://127.0.0.1:{self.server.port}{path}")
        return await self.http.call(method, url, headers, body, **bounds)


def play(scene: Callable[[World], Awaitable[None]], *, tls: Any = None, **options: Any) -> None:
    """Run a scene; no thread may be left of it."""

    async def run() -> None:
        world = World(**options)
        world.scheme = "https" if tls else "http"
        await world.server.start(tls)
        world.server.pages["/"] = answer(b"hello")
        try:
            async with asyncio.timeout(20):
                await scene(world)
        finally:
            world.http.close()
            world.http.close()
            await world.server.stop()

    before = set(threading.enumerate())
    in_loop(run())
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), "a call outlives its client"


def test_an_answer_of_any_status(tmp_path: Path) -> None:
    """Status, lower-case headers with duplicates, body; a redirect is an answer like any other."""

    async def scene(world: World) -> None:
        world.server.pages["/"] = answer(b"no", "404 Not Found", "X-Two: 1", "X-Two: 2")
        world.server.pages["/moved"] = answer(b"", "302 Found", "Location: /")
        found = await world.call()
        assert (found.status, found.body, found.header("x-two")) == (404, b"no", "1")
        assert found.headers[:2] == (("x-two", "1"), ("x-two", "2"))
        assert "no" not in repr(found)
        assert (await world.call("/moved")).status == 302
        await world.call("/?a=%2F", "POST", b"body")
        head = world.server.heads[-1].lower()
        assert head.startswith("post /?a=%2f http/1.1\r\n")
        assert f"\r\nhost: 127.0.0.1:{world.server.port}\r\n" in head
        assert "\r\ncontent-length: 4\r\n" in head
        assert "accept-encoding" not in head
        assert "user-agent" not in head

    play(scene)


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _dripping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("page", "cause"),
    [
        pytest.param(_silent, "timeout", id="silent"),
        pytest.param(_dripping, "timeout", id="dripping"),
        pytest.param(b"", "closed", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "closed", id="cut off"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "closed", id="chunk cut off"),
        pytest.param(b"220 mail.example ESMTP\r\n\r\n", "garbled", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", "garbled", id="a line too long"),
        pytest.param(answer(b"a" * 1001), "too-long", id="too long"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n",
            "too-long",
            id="too long in chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1001, "too-long", id="too long to the end"),
    ],
)
def test_a_call_without_a_usable_answer(page: Page, cause: str) -> None:
    """One plain word for what went wrong; nothing of headers, body or token; the next call works."""

    async def scene(world: World) -> None:
        world.server.pages["/bad"] = page
        with pytest.raises(CallFailed) as caught:
            await world.call("/bad", "POST", WORD.encode(), timeout=0.3 if cause == "timeout" else 20.0)
        found = caught.value
        assert found.cause == cause
        assert WORD not in f"{found!r} {found.message} {found.hint} {found.__cause__!r} {found.__context__!r}"
        assert found.retryable is (cause != "too-long")
        assert (await world.call()).body == b"hello"

    play(scene)


def test_nobody_listens_and_nobody_is_found() -> None:
    """Each with its own word."""

    async def scene(world: World) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(CallFailed) as caught:
                await world.call(url=f"http://127.0.0.1:{unused.getsockname()[1]}/")
        assert caught.value.cause == "refused"
        for host in ("no.such.host.invalid", "a..b", "x" * 64 + ".example"):
            with pytest.raises(CallFailed) as caught:
                await world.call(url=f"http://{host}/")
            assert caught.value.cause == "dns"

    play(scene)


@pytest.mark.parametrize("value", ["a\r\nX-Injected: b", "a\nb", "a\x00b", "a\x7fb", "snow \u2603"])
def test_a_header_cannot_carry_another_one(value: str) -> None:
    """Refused before anything is sent, without repeating the value."""

    async def scene(world: World) -> None:
        with pytest.raises(BadInput, match="'authorization'") as caught:
            await world.call(headers=(("authorization", value),))
        assert value not in caught.value.message
        assert world.server.heads == []

    play(scene)


def test_certificates_are_checked(tmp_path: Path) -> None:
    """By the authorities of the file where one is given, and for the host that was asked for."""
    authority, context = certify(tmp_path, "localhost")

    async def trusted(world: World) -> None:
        assert (await world.call(url=f"https://localhost:{world.server.port}/")).body == b"hello"
        with pytest.raises(CallFailed) as caught:
            await world.call(url=f"https://127.0.0.1:{world.server.port}/")
        assert (caught.value.cause, caught.value.retryable) == ("tls", False)

    async def unknown(world: World) -> None:
        with pytest.raises(CallFailed) as caught:
            await world.call(url=f"https://localhost:{world.server.port}/")
        assert caught.value.cause == "tls"
        assert world.server.heads == []

    async def no_file(world: World) -> None:
        with pytest.raises(Misconfigured, match=r"nothing\.pem"):
            await world.call(url=f"https://localhost:{world.server.port}/")

    play(trusted, tls=context, ca=authority)
    play(unknown, tls=context)
    play(no_file, tls=context, ca=tmp_path / "nothing.pem")


def test_calls_at_once_are_bounded() -> None:
    """So many run, so many wait, and the next one is told at once; time counts from the queue on."""

    async def scene(world: World) -> None:
        world.server.pages["/silent"] = _silent
        calls = [asyncio.create_task(world.call("/silent", timeout=1.0)) for _ in range(3)]
        while len(world.server.heads) < 2:  # noqa: ASYNC110 - it is of threads
            await asyncio.sleep(0.01)
        with pytest.raises(CallFailed) as caught:
            await world.call()
        assert caught.value.cause == "busy"
        for call in calls:
            with pytest.raises(CallFailed, match="timeout"):
                await call
        assert (await world.call()).status == 200, "no thread is stuck"

    play(scene, at_once=2, waiting=1)


def test_a_cancelled_call_and_a_closed_client_end_what_runs() -> None:
    """Their threads wake up; later calls are refused."""

    async def scene(world: World) -> None:
        world.server.pages["/silent"] = _silent
        for _ in range(5):
            call = asyncio.create_task(world.call("/silent"))
            await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert (await world.call()).status == 200
        running = asyncio.create_task(world.call("/silent"))
        await asyncio.sleep(0.05)
        world.http.close()
        with pytest.raises(Upstream):
            await running
        with pytest.raises(Upstream, match="closed"):
            await world.call()

    play(scene, at_once=1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connections_are_used_again_and_never_a_dead_one(tmp_path: Path, scheme: str) -> None:
    """Two calls, one connection; one that the other side has closed meanwhile is not tried."""
    ports: list[int] = []
    authority, context = certify(tmp_path, "localhost")

    async def scene(world: World) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ports.append(writer.get_extra_info("peername")[1])
            for _ in range(2):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer(b"kept"))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if scheme == "https" else None)
        url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/"
        for _ in range(4):
            assert (await world.call(url=url)).body == b"kept"
            await asyncio.sleep(0.02)
        server.close()
        assert len(ports) == 2

    play(scene, ca=authority)


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
def test_what_nobody_asked_for_is_no_answer(late: bool) -> None:
    """A second answer to one question is not taken for the next one's, though the connection was to be kept."""
    ports: list[int] = []

    async def scene(world: World) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ports.append(writer.get_extra_info("peername")[1])
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(b"mine") + (b"" if late else answer(b"another's")))
            if late:
                await asyncio.sleep(0.01)
                writer.write(answer(b"another's"))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            if late:
                assert (await world.call(url=url)).body == b"mine"
                await asyncio.sleep(0.05)
            else:
                with pytest.raises(CallFailed, match="garbled"):
                    await world.call(url=url)
        server.close()
        assert len(set(ports)) == 2

    play(scene)


def test_an_answer_on_the_way_and_one_that_ends_with_its_connection() -> None:
    """1xx is passed over; a body without a length ends where the other side closes (RFC 9112 §6.3)."""

    async def scene(world: World) -> None:
        world.server.pages["/"] = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" + answer(b"then", "201 Created", "C: d")
        found = await world.call()
        assert (found.status, found.body, found.headers[0]) == (201, b"then", ("c", "d"))
        world.server.pages["/"] = b"HTTP/1.0 200 OK\r\n\r\nto the end"
        assert (await world.call()).body == b"to the end"

    play(scene)


def test_tls_through_a_proxy(tmp_path: Path) -> None:
    """The tunnel is asked for once, with the proxy's password, which goes no further; the connection is kept."""
    authority, context = certify(tmp_path, "issuer.example")
    asked: list[bytes] = []

    async def scene(world: World) -> None:
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.start_tls(context)
            for _ in range(2):
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer(b"inside" * 20_000))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = HttpClient(
            proxies={"https_proxy": f"http://me:pass@127.0.0.1:{port}"}, tls=ClientTls(TlsFiles(ca=authority))
        )
        for _ in range(2):
            found = await client.call(
                "GET", "https://issuer.example/x", (("authorization", WORD),),
                connect_timeout=2, timeout=5, longest_body=200_000,
            )  # fmt: skip
            assert found.body == b"inside" * 20_000
        client.close()
        server.close()

    play(scene)
    tunnel, *inside = (head.decode().lower() for head in asked)
    assert tunnel.startswith("connect issuer.example:443 http/1.1\r\n")
    assert "proxy-authorization: basic bwu6cgfzcw==\r\n" in tunnel
    assert WORD not in tunnel
    assert [head.split("\r\n")[0] for head in inside] == ["get /x http/1.1"] * 2
    assert not any("proxy-authorization" in head for head in inside)


def test_a_proxy_is_asked_in_its_own_way(tmp_path: Path) -> None:
    """http: the whole URL; https: a tunnel. Its password goes to it only."""

    async def scene(world: World) -> None:
        port = world.server.port
        proxied = HttpClient(
            proxies={"http_proxy": f"http://me:pass@127.0.0.1:{port}", "https_proxy": f"127.0.0.1:{port}"}
        )
        world.server.pages["http://issuer.example/x?y"] = answer(b"through")
        world.server.pages["issuer.example:443"] = answer(b"", "403 Forbidden")
        bounds = {"connect_timeout": 2.0, "timeout": 5.0, "longest_body": 1000}
        found = await proxied.call("GET", "http://issuer.example/x?y", **bounds)  # type: ignore[arg-type]
        assert found.body == b"through"
        head = world.server.heads[-1].lower()
        assert "\r\nhost: issuer.example\r\n" in head
        assert "\r\nproxy-authorization: basic bwu6cgfzcw==\r\n" in head
        with pytest.raises(CallFailed) as caught:
            await proxied.call("GET", "https://issuer.example/x", (("authorization", WORD),), **bounds)  # type: ignore[arg-type]
        assert caught.value.cause == "unreachable"
        assert world.server.heads[-1].startswith("CONNECT issuer.example:443 HTTP/1.")
        assert WORD not in world.server.heads[-1]
        assert (await proxied.call("GET", f"http://127.0.0.1:{port}/", **bounds)).body == b"hello"  # type: ignore[arg-type]
        assert world.server.heads[-1].startswith("GET / "), "this machine is asked directly"
        proxied.close()

    play(scene)

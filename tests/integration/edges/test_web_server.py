"""uvicorn as we run it, and listening sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from rolecall.edges.sockets import bind_tcp, shown_address
from rolecall.edges.web_server import serve
from rolecall.errors import Misconfigured


def test_it_serves_until_it_is_told_to_stop() -> None:
    """`started` is said when connections are answered; a request under way is answered still, then all ends."""
    gate, waits = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/slow":
            waits.set()
            await gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def ask(port: int, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        return reader, writer

    async def run() -> None:
        listener = bind_tcp("127.0.0.1", 0)
        port = listener.getsockname()[1]
        stop, started = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(serve(app, listener, stop, started))
        async with asyncio.timeout(20):
            await started.wait()
            reader, writer = await ask(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\nok")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"uvicorn" not in head
            large, other = await ask(port, b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 131_100)
            assert (await large.readline()).startswith(b"HTTP/1.1 4")
            slow, third = await ask(port, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await waits.wait()
            stop.set()
            await asyncio.sleep(0.15)
            gate.set()
            assert (await slow.readline()).startswith(b"HTTP/1.1 200")
            await serving
            assert await reader.read() == b""
        with socket.socket() as late:
            assert late.connect_ex(("127.0.0.1", port)) != 0
        for open_one in (writer, other, third):
            open_one.transport.abort()
        await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_listener_is_shown_as_it_is_written_in_a_url() -> None:
    """With brackets around IPv6, given with or without them."""
    with bind_tcp("127.0.0.1", 0) as listener:
        assert shown_address(listener) == f"127.0.0.1:{listener.getsockname()[1]}"
        assert listener.getblocking() is False
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    for host in ("::1", "[::1]"):
        try:
            listener = bind_tcp(host, 0)
        except Misconfigured:
            pytest.skip("no IPv6 address here")
        with listener:
            assert shown_address(listener) == f"[::1]:{listener.getsockname()[1]}"


def test_a_port_that_is_taken_is_named_with_the_flag_to_change() -> None:
    """Nothing is left open."""
    with bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"127.0.0.1:{port} is in use by another program") as caught:
            bind_tcp("127.0.0.1", port, flag="--listen")
        assert "--listen" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.1", 0), ("no.such.host.invalid", 0), ("a..b", 0), ("127.0.0.1", 65_536), ("::zz", 0)]
)
def test_what_is_no_address_of_ours_is_named(host: str, port: int) -> None:
    """In a sentence, not in a traceback."""
    with pytest.raises(Misconfigured, match="cannot listen on") as caught:
        bind_tcp(host, port, flag="--listen")
    assert "--listen" in caught.value.hint

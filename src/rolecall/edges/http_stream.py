"""One HTTP/1.1 connection to somebody we depend on: a request, and its answer as it comes, however long that goes on.

asyncio's streams with httptools' parser, both of which the agent's door has in memory already.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any, SupportsIndex, cast

import httptools

from rolecall.core.secrets import Secret
from rolecall.edges.http_call import CallFailed, Origin

LONGEST_HEAD = 65_536
_CHUNK = 65_536
# A peer that is gone without a word is found out in 30 seconds, as Go's clients have it.
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))


class _Incoming:
    """What httptools has made of the bytes so far. An answer that is only on the way (1xx) counts for nothing."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.began = self.ended = self.keeps = False
        self.body: list[bytes] = []
        self._size = 0
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        if self.ended:
            raise ValueError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > LONGEST_HEAD:
            raise ValueError("a head without an end")
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        self.began = not 100 <= self.parser.get_status_code() < 200
        if not self.began:
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.ended = self.began
        self.keeps = self.parser.should_keep_alive()  # asked later, the parser has forgotten it

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body goes on until the other side closes (RFC 9112 §6.3)."""
        return self.began and not any(name in ("content-length", "transfer-encoding") for name, _ in self.headers)


class _Reader(asyncio.StreamReader):
    """Counts what came, so that bytes which nobody asked for are never taken for the next answer."""

    came = 0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.came += len(cast(bytes, data))
        super().feed_data(data)


class Connection:
    """Carries one request at a time; errors call the other side by its `name`.

    `status` and `headers` are the answer's, once `ask` has returned: lower-case names, duplicates kept.
    """

    def __init__(self, name: str, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._name, self._reader, self._writer = name, reader, writer
        self._incoming = _Incoming()
        self._read = 0
        self.status = 0
        self.context: ssl.SSLContext | None = writer.get_extra_info("sslcontext")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The answer's headers."""
        return self._incoming.headers

    def header(self, name: str) -> str:
        """Return the first value of a header (lower-case name), or nothing."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end, and the other side keeps the connection."""
        return self._incoming.ended and self._incoming.keeps and not self.ended_before

    @property
    def ended_before(self) -> bool:
        """Whether the other side has closed an idle connection, or said something that nobody asked for."""
        if self._reader.at_eof() or self._writer.is_closing() or self._reader.came != self._read:
            return True
        poll = select.poll()  # the kernel may know more than the loop has looked at yet
        poll.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    async def ask(self, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Send a request and read the head of its answer. Raises `OSError` or `CallFailed`."""
        self._incoming = _Incoming()
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        self._writer.write("\r\n".join(lines).encode("latin-1") + body)
        await self._writer.drain()
        seen = 0
        while not self._incoming.began:
            seen += await self._feed()
            if seen > LONGEST_HEAD and not self._incoming.began:
                raise CallFailed(self._name, "too-long")
        self.status = self._incoming.parser.get_status_code()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises `OSError` or `CallFailed`, also where it ends before its end."""
        while True:
            incoming = self._incoming
            ready, incoming.body = incoming.body, []
            for chunk in ready:
                yield chunk
            if incoming.ended:
                return
            await self._feed()

    async def body(self, longest: int) -> bytearray:
        """Return the whole body; raises as `chunks` does, and `CallFailed` for more than `longest` bytes."""
        length, body = self.header("content-length"), bytearray()
        if length.isdecimal() and int(length) > longest:
            raise CallFailed(self._name, "too-long")
        async for chunk in self.chunks():
            body += chunk
            if len(body) > longest:
                raise CallFailed(self._name, "too-long")
        return body

    async def tunnel(self, to: str, authorization: Secret | None) -> None:
        """Have a proxy pass on whatever comes next (RFC 9110 §9.3.6). Raises `OSError` or `CallFailed`."""
        lines = [f"CONNECT {to} HTTP/1.1", f"host: {to}"]
        lines += [] if authorization is None else [f"proxy-authorization: {authorization.reveal()}"]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise CallFailed(self._name, "closed") from None
        except asyncio.LimitOverrunError:
            raise CallFailed(self._name, "too-long") from None
        self._read += len(head)
        version, _, status = head[:12].partition(b" ")
        if not version.startswith(b"HTTP/1.") or self._reader.came != self._read:
            raise CallFailed(self._name, "garbled")
        if not status.startswith(b"2"):
            raise CallFailed(self._name, "unreachable")

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Go on in TLS. Raises `OSError`."""
        await self._writer.start_tls(context, server_hostname=server_name)
        self.context = context

    async def _feed(self) -> int:
        data = await self._reader.read(_CHUNK)
        self._read += len(data)
        if not data:
            if not self._incoming.ends_with_connection:
                raise CallFailed(self._name, "closed")
            self._incoming.ended, self._incoming.keeps = True, False
        try:
            self._incoming.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise CallFailed(self._name, "garbled") from None
        return len(data)

    def close(self) -> None:
        """Close it now, without waiting for the other side."""
        self._writer.transport.abort()


async def connect(origin: Origin, context: ssl.SSLContext | None, server_name: str, *, seconds: float) -> Connection:
    """Return a new connection, made within so many seconds for each address of the name; raises `OSError`."""
    failed = OSError("no address")
    for *_, (address, port, *_) in await _addresses(origin, seconds):
        try:
            async with asyncio.timeout(seconds):
                return await _connect(str(origin), address, port, context, server_name)
        except OSError as error:  # a TimeoutError is one
            failed = error
    raise failed


async def _addresses(origin: Origin, seconds: float) -> list[Any]:
    """Look up a host; what is an address already needs neither a thread nor a resolver."""
    try:
        return socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    async with asyncio.timeout(seconds):
        loop = asyncio.get_running_loop()
        return list(await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))


async def connect_unix(name: str, path: str) -> Connection:
    """Return a new connection to a socket of this machine; raises `OSError`."""
    reader = _Reader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: protocol, path)
    return Connection(name, reader, _writer(transport, protocol, reader))


async def _connect(name: str, address: str, port: int, context: ssl.SSLContext | None, server_name: str) -> Connection:
    reader = _Reader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: protocol, address, port, ssl=context, server_hostname=server_name if context is not None else None
    )
    sock = transport.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return Connection(name, reader, _writer(transport, protocol, reader))


def _writer(
    transport: asyncio.BaseTransport, protocol: asyncio.StreamReaderProtocol, reader: _Reader
) -> asyncio.StreamWriter:
    # uvloop's is one in all but its ancestry
    return asyncio.StreamWriter(cast(asyncio.WriteTransport, transport), protocol, reader, asyncio.get_running_loop())

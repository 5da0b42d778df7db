"""One HTTP/1.1 connection to somebody we depend on: a request, and its answer as it comes, however long that goes on.

asyncio's streams with httptools' parser, both of which the agent's door has in memory already.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import httptools

from rolecall.edges.http_client import CallFailed, Origin

LONGEST_HEAD = 65_536
_CHUNK = 65_536
# A peer that is gone without a word is found out in 30 seconds, as Go's clients have it.
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))


class _Incoming:
    """What httptools has made of the bytes so far."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.began = self.ended = self.keeps = False
        self.body: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.began = True

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.ended = True
        self.keeps = self.parser.should_keep_alive()  # asked later, the parser has forgotten it


class Connection:
    """Carries one request at a time; errors call the other side by its `name`.

    `status` and `headers` are the answer's, once `ask` has returned.
    """

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name, self._reader, self._writer = name, reader, writer
        self._incoming = _Incoming()
        self.status = 0

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, by lower-case name."""
        return self._incoming.headers

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end, and the other side keeps the connection."""
        alive = not self._reader.at_eof() and not self._writer.is_closing()
        return alive and self._incoming.ended and self._incoming.keeps

    @property
    def ended_before(self) -> bool:
        """Whether the other side has closed an idle connection."""
        return self._reader.at_eof() or self._writer.is_closing()

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
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > longest:
                raise CallFailed(self._name, "too-long")
        return body

    async def _feed(self) -> int:
        data = await self._reader.read(_CHUNK)
        if not data:
            raise CallFailed(self._name, "closed")
        try:
            self._incoming.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise CallFailed(self._name, "garbled") from None
        return len(data)

    def close(self) -> None:
        """Close it now, without waiting for the other side."""
        self._writer.transport.abort()


async def connect(origin: Origin, context: ssl.SSLContext | None, server_name: str) -> Connection:
    """Return a new connection; raises `OSError`."""
    reader, writer = await asyncio.open_connection(
        origin.host, origin.port, ssl=context, server_hostname=server_name if context is not None else None
    )
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return Connection(str(origin), reader, writer)

"""HTTP calls to services we depend on: bounded in time, size and number.

Calls are rare, and memory on every node is not: the parser is the one that the door has in memory already, there are
no threads, and no certificates are loaded before the first ``https`` URL. Connections are kept per origin and used
again. A redirect is an answer like any other.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rolecall.edges.http_call import CallFailed, Origin, cause_of, split_url
from rolecall.edges.http_stream import Connection, connect
from rolecall.edges.proxies import Proxies, Proxy
from rolecall.edges.tls import ClientTls
from rolecall.errors import BadInput, Upstream

_MOST_IDLE = 16


@dataclass(frozen=True, slots=True, repr=False)
class HttpAnswer:
    """An answer as it came: header names are lower-case, duplicates kept. A repr shows no body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header (lower-case name), or None."""
        return next((value for key, value in self.headers if key == name), None)

    def __repr__(self) -> str:
        return f"HttpAnswer(status={self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class _Question:
    """A request with its limits: seconds to connect, bytes of the answer's body."""

    origin: Origin
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connect_timeout: float
    longest_body: int


class HttpClient:
    """Makes at most `at_once` calls at the same time; `waiting` more may queue, and the next is refused as ``busy``.

    `proxies` holds environment variables (see `Proxies`); without `tls` the machine's authorities are believed. All
    calls are made in one loop.
    """

    def __init__(
        self,
        *,
        at_once: int = 8,
        waiting: int = 64,
        proxies: Mapping[str, str] | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self.tls = tls or ClientTls()
        self._proxies = Proxies(proxies or {})
        self._idle: dict[Origin, list[Connection]] = {}
        self._running: set[asyncio.Timeout] = set()
        self._closed = False

    async def call(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        connect_timeout: float,
        timeout: float,
        longest_body: int,
    ) -> HttpAnswer:
        """Return the answer, of any status; `timeout` (seconds) bounds the call from queue to last byte.

        Host and Content-Length are added where `headers` has none. Raises `CallFailed` for no usable answer,
        `Misconfigured` for a URL that is not one, `BadInput` for a header that HTTP cannot carry.
        """
        origin, target = split_url(url)
        _check_headers(headers)
        if self._closed:
            raise Upstream("the HTTP client is closed")
        if len(self._running) >= self._most:
            raise CallFailed(str(origin), "busy")
        question = _Question(origin, method, target, tuple(headers), body, connect_timeout, longest_body)
        try:
            async with asyncio.timeout(timeout) as limit:
                self._running.add(limit)
                try:
                    async with self._turns:
                        return await self._exchange(question)
                finally:
                    self._running.discard(limit)
        except (OSError, ValueError) as error:  # a TimeoutError is one; none of them holds what went over the wire
            cause = cause_of(error)
        raise CallFailed(str(origin), cause)

    def close(self) -> None:
        """Close every connection and end the calls that run. It may be called twice."""
        self._closed = True
        for limit in self._running:
            if not limit.expired():
                limit.reschedule(0)
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    async def _exchange(self, question: _Question) -> HttpAnswer:
        origin = question.origin
        proxy = self._proxies.for_origin(origin.scheme, origin.host, origin.port)
        context = await asyncio.to_thread(self.tls.context) if origin.scheme == "https" else None
        connection = self._take(origin, context) or await self._connect(question, proxy, context)
        try:
            await connection.ask(question.method, *_head(question, proxy), question.body)
            body = await connection.body(question.longest_body)
            answer = HttpAnswer(connection.status, tuple(connection.headers), bytes(body))
        except BaseException:
            connection.close()
            raise
        self._give_back(origin, connection)
        return answer

    async def _connect(self, question: _Question, proxy: Proxy | None, context: ssl.SSLContext | None) -> Connection:
        origin, seconds = question.origin, question.connect_timeout
        if proxy is None:
            return await connect(origin, context, origin.host, seconds=seconds)
        before = Origin("http", proxy.host, proxy.port)
        connection = await connect(before, None, "", seconds=seconds)
        if context is not None:
            try:
                async with asyncio.timeout(seconds):
                    await connection.tunnel(origin.with_port, proxy.authorization)
                    await connection.start_tls(context, origin.host)
            except BaseException:
                connection.close()
                raise
        return connection

    def _take(self, origin: Origin, context: ssl.SSLContext | None) -> Connection | None:
        """Return an idle connection that the other side has not closed, or None.

        One that was made with files of TLS which have changed since is not used again: who we are may have changed.
        """
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if not connection.ended_before and connection.context is context:
                return connection
            connection.close()
        return None

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        if connection.reusable and not self._closed and sum(map(len, self._idle.values())) < _MOST_IDLE:
            self._idle.setdefault(origin, []).append(connection)
        else:
            connection.close()


def _check_headers(headers: Sequence[tuple[str, str]]) -> None:
    for name, value in headers:
        if any(ord(letter) < 32 or ord(letter) == 127 or ord(letter) > 255 for letter in value):
            raise BadInput(f"the value of header {name!r} holds a character that HTTP cannot carry")


def _head(question: _Question, proxy: Proxy | None) -> tuple[str, list[tuple[str, str]]]:
    """Return target and headers; a proxy that is no tunnel is given the whole URL, and its password."""
    origin, target, headers = question.origin, question.target, list(question.headers)
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        headers.insert(0, ("host", origin.authority))
    if "content-length" not in names and (question.body or question.method in {"POST", "PUT", "PATCH"}):
        headers.append(("content-length", str(len(question.body))))
    if proxy is not None and origin.scheme == "http":
        target = f"{origin}{target}"
        if proxy.authorization is not None:
            headers.append(("proxy-authorization", proxy.authorization.reveal()))
    return target, headers

"""HTTP calls to services we depend on: http.client in a few threads, bounded in time, size and number.

Calls are rare, and memory on every node is not: no client library, and no certificates are loaded before the
first ``https`` URL. Connections are kept per origin and used again. A redirect is an answer like any other.
"""

from __future__ import annotations

import asyncio
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from rolecall.edges.proxies import Proxies, Proxy
from rolecall.edges.tls import ClientTls
from rolecall.errors import BadInput, Misconfigured, Upstream

Cause = Literal["busy", "dns", "refused", "unreachable", "timeout", "tls", "closed", "garbled", "too-long"]

_SENTENCES: Mapping[Cause, tuple[str, str]] = {
    "busy": ("too many calls are waiting for it already", "it is slow, or the load is too high"),
    "dns": ("its name cannot be resolved", "check the endpoint's host name and the resolver"),
    "refused": ("it refused the connection", "check that it runs and listens on that port"),
    "unreachable": ("it cannot be reached", "check the route, the proxy and the security groups"),
    "timeout": ("it did not answer in time", "check the route, the proxy and the security groups"),
    "tls": (
        "its certificate or TLS handshake was not accepted",
        "check the CA file, the host name and the certificates",
    ),
    "closed": ("it closed the connection before a whole answer", ""),
    "garbled": ("it did not answer in HTTP", "check the scheme and the port of its URL"),
    "too-long": ("its answer is longer than allowed", ""),
}
_MOST_IDLE = 16


class CallFailed(Upstream):
    """A call without a usable answer. `cause` is one plain word; headers and bodies are never shown."""

    def __init__(self, origin: str, cause: Cause) -> None:
        sentence, hint = _SENTENCES[cause]
        super().__init__(f"{origin}: {sentence} ({cause})", hint=hint)
        self.cause: Cause = cause
        self.retryable = cause not in {"tls", "too-long"}

    @property
    def word(self) -> str:
        """The cause."""
        return self.cause


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


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the host header: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def split_url(url: str) -> tuple[Origin, str]:
    """Return origin and raw request target of an http or https URL; else raise `Misconfigured`."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port, parts = "", None, None, urlsplit("")
    if scheme not in {"http", "https"} or not host or not host.isascii() or parts.username is not None:
        shown = "a URL with a user" if "@" in url else repr(url[:100])
        raise Misconfigured(f"{shown} cannot be called", hint="write it as https://host or http://host:port")
    origin = Origin(scheme, host, port if port is not None else _default_port(scheme))
    return origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


class HttpClient:
    """Makes calls in at most `threads` threads; `waiting` more may queue, and the next is refused as ``busy``.

    `proxies` holds environment variables (see `Proxies`); without `tls` the machine's authorities are believed.
    """

    def __init__(
        self,
        *,
        threads: int = 8,
        waiting: int = 64,
        proxies: Mapping[str, str] | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="http-client")
        self._slots = threading.Semaphore(threads + waiting)
        self._connections = _Connections(Proxies(proxies or {}), tls or ClientTls())
        self._running: set[_Exchange] = set()

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
        if not self._slots.acquire(blocking=False):
            raise CallFailed(str(origin), "busy")
        first = min(connect_timeout, timeout)
        question = _Question(origin, method, target, tuple(headers), body, first, timeout, longest_body)
        exchange = _Exchange(self._connections, question)
        try:
            future = self._threads.submit(exchange.run)
        except RuntimeError:
            self._slots.release()
            raise Upstream("the HTTP client is closed") from None
        future.add_done_callback(lambda _: self._slots.release())
        self._running.add(exchange)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise CallFailed(str(origin), "timeout") from None
        finally:
            self._running.discard(exchange)
            if not future.cancel():  # it runs, or has ended
                exchange.abort()

    def close(self) -> None:
        """Close every connection and end the calls that run. It may be called twice."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for exchange in list(self._running):
            exchange.abort()
        self._connections.close()


def _check_headers(headers: Sequence[tuple[str, str]]) -> None:
    for name, value in headers:
        if any(ord(letter) < 32 or ord(letter) == 127 or ord(letter) > 255 for letter in value):
            raise BadInput(f"the value of header {name!r} holds a character that HTTP cannot carry")


class _Connections:
    """Opens connections and keeps the idle ones, latest first."""

    def __init__(self, proxies: Proxies, tls: ClientTls) -> None:
        self._proxies = proxies
        self.tls = tls
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self._closed = False

    def proxy(self, origin: Origin) -> Proxy | None:
        """Return the proxy that stands before an origin."""
        return self._proxies.for_origin(origin.scheme, origin.host, origin.port)

    def take(self, origin: Origin) -> http.client.HTTPConnection | None:
        """Return an idle connection that the other side has not closed, or None.

        One that was made with files of TLS which have changed since is not used again: who we are may have changed.
        """
        context = self.tls.context() if origin.scheme == "https" else None
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                connection = idle.pop() if idle else None
            if connection is None:
                return None
            if not _has_ended(connection) and getattr(connection.sock, "context", None) is context:
                return connection
            connection.close()

    def give_back(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        with self._lock:
            if not self._closed and sum(map(len, self._idle.values())) < _MOST_IDLE:
                self._idle.setdefault(origin, []).append(connection)
                return
        connection.close()

    def open(self, origin: Origin, timeout: float) -> http.client.HTTPConnection:
        """Return a new connection, not connected yet; `timeout` (seconds) bounds each step of connecting."""
        proxy = self.proxy(origin)
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        if origin.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self.tls.context())
        if proxy:
            secret = proxy.authorization
            headers = {"Proxy-Authorization": secret.reveal()} if secret else {}
            connection.set_tunnel(origin.host, origin.port, headers)
        return connection

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Say whether an idle connection is readable: the other side closed it, or sent what nobody asked for."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


@dataclass(frozen=True, slots=True, repr=False)
class _Question:
    """A request with its limits: seconds to connect, seconds to wait for bytes, bytes of the answer's body."""

    origin: Origin
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connect_timeout: float
    timeout: float
    longest_body: int


class _Exchange:
    """One request and its answer, in a thread. `abort` is called from another."""

    def __init__(self, connections: _Connections, question: _Question) -> None:
        self._connections, self._question = connections, question
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False

    def run(self) -> HttpAnswer:
        """Return the answer or raise `CallFailed`, which holds no trace of what went over the wire."""
        try:
            return self._exchange()
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = cause_of(error)
        raise CallFailed(str(self._question.origin), cause)

    def abort(self) -> None:
        """Wake the thread up, if it waits for the other side."""
        with self._lock:
            self._aborted = True
            sock = self._connection.sock if self._connection else None
            if sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's: it would drop its state

    def _exchange(self) -> HttpAnswer:
        connection = self._connections.take(self._question.origin)
        if connection is None:
            connection = self._connections.open(self._question.origin, self._question.connect_timeout)
        kept = False
        try:
            if connection.sock is None:
                connection.connect()
            self._hold(connection)
            connection.sock.settimeout(self._question.timeout)
            self._send(connection)
            with connection.getresponse() as response:
                body = self._read(response)
                kept = response.isclosed() and not response.will_close
            headers = tuple((name.lower(), value) for name, value in response.getheaders())
            return HttpAnswer(response.status, headers, body)
        finally:
            with self._lock:
                self._connection = None
                kept = kept and not self._aborted
            if kept:
                self._connections.give_back(self._question.origin, connection)
            else:
                connection.close()

    def _hold(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if self._aborted:
                raise TimeoutError
            self._connection = connection

    def _send(self, connection: http.client.HTTPConnection) -> None:
        question = self._question
        target, names = question.target, {name.lower() for name, _ in question.headers}
        proxy = self._connections.proxy(question.origin) if question.origin.scheme == "http" else None
        if proxy:
            target = f"{question.origin}{target}"
        connection.putrequest(question.method, target, skip_host=True, skip_accept_encoding=True)
        if "host" not in names:
            connection.putheader("host", question.origin.authority)
        for name, value in question.headers:
            connection.putheader(name, value)
        if "content-length" not in names and (question.body or question.method in {"POST", "PUT", "PATCH"}):
            connection.putheader("content-length", str(len(question.body)))
        if proxy and proxy.authorization:
            connection.putheader("proxy-authorization", proxy.authorization.reveal())
        connection.endheaders(question.body or None)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if (response.length or 0) > self._question.longest_body:
            raise CallFailed(str(self._question.origin), "too-long")
        body = response.read(self._question.longest_body + 1)
        if len(body) > self._question.longest_body:
            raise CallFailed(str(self._question.origin), "too-long")
        if response.length:
            raise ConnectionResetError
        return body


def cause_of(error: Exception) -> Cause:
    """Return the plain word for what went wrong; the order matters where classes overlap."""
    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Cause], ...] = (
        (socket.gaierror, "dns"),
        (TimeoutError, "timeout"),
        (ssl.SSLError, "tls"),
        (ConnectionRefusedError, "refused"),
        ((ConnectionError, http.client.IncompleteRead), "closed"),
        (UnicodeError, "dns"),
        ((http.client.HTTPException, ValueError), "garbled"),
    )
    return next((cause for kind, cause in kinds if isinstance(error, kind)), "unreachable")

"""Calls to the API server: bounded in time and size, errors with the API server's own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from urllib.parse import quote

from rolecall import __version__
from rolecall.edges.http_call import CallFailed, cause_of
from rolecall.edges.http_stream import Connection, connect
from rolecall.edges.kube.config import KubeConfig
from rolecall.edges.kube.wire import Status, status_of
from rolecall.errors import UpstreamAnswered

Query = Sequence[tuple[str, str]]
JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

SECONDS = 10.0
CONNECT_SECONDS = 5.0
LONGEST = 64 << 20
"""Bytes of an answer: five hundred pods of the largest usual size. An error's is far shorter."""
LONGEST_LINE = 8 << 20
"""Bytes of one event. etcd keeps objects of at most 1.5 MiB, which JSON makes longer."""
_LONGEST_ERROR = 65_536
_MOST_IDLE = 16
_HINTS = {
    401: "its token or client certificate is not accepted: has it expired, is it of this cluster?",
    403: "grant it by a ClusterRole and a binding; docs/reference has the rules",
}


class ApiError(UpstreamAnswered):
    """The API server answered with an error: HTTP status, `code` its reason such as ``NotFound``, and its message.

    `retry_after` is how long it asks us to wait, in seconds.
    """

    def __init__(self, status: int, said: Status, retry_after: float = 0.0) -> None:
        reason = (said.reason or f"Http{status}")[:64]
        message = (said.message or f"the API server answered {status}")[:500]
        super().__init__(status=status, code=reason, message=message)
        self.hint = _HINTS.get(status, "")
        self.retry_after = retry_after

    @property
    def gone(self) -> bool:
        """Whether what was asked about is too far back: it has to be listed again."""
        return self.status == 410 or self.code in ("Expired", "Gone")


class Api(Protocol):
    """What a watch needs of a client."""

    async def get(self, path: str, query: Query = (), *, accept: str = JSON, timeout: float = SECONDS) -> bytearray:
        """Return the body of a GET."""
        ...

    def watch(
        self, path: str, query: Query = (), *, accept: str = JSON
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a watch and give its lines; leaving it closes the connection."""
        ...


class KubeClient:
    """Calls one API server. Raises `ApiError` for its errors, `CallFailed` for none of its answers, `Misconfigured`."""

    def __init__(self, config: KubeConfig) -> None:
        self._config = config
        self._idle: list[Connection] = []
        self._closed = False

    async def get(self, path: str, query: Query = (), *, accept: str = JSON, timeout: float = SECONDS) -> bytearray:
        """Return the body of a GET; `timeout` (seconds) bounds it to its last byte."""
        return await self._call("GET", path, query, accept=accept, timeout=timeout)

    async def create(self, path: str, body: bytes, *, timeout: float = SECONDS) -> bytearray:
        """POST an object; return it as it was made."""
        return await self._call("POST", path, (), body, JSON, timeout=timeout)

    async def replace(self, path: str, body: bytes, *, timeout: float = SECONDS) -> bytearray:
        """PUT an object in place of what is there."""
        return await self._call("PUT", path, (), body, JSON, timeout=timeout)

    async def patch(self, path: str, body: bytes, *, kind: str = "merge-patch", timeout: float = SECONDS) -> bytearray:
        """PATCH an object; `kind` is ``json-patch``, ``merge-patch`` or ``strategic-merge-patch``."""
        return await self._call("PATCH", path, (), body, f"application/{kind}+json", timeout=timeout)

    async def delete(self, path: str, options: bytes = b"", *, timeout: float = SECONDS) -> bytearray:
        """DELETE an object; `options` are DeleteOptions, such as the preconditions it must meet."""
        return await self._call("DELETE", path, (), options, JSON if options else "", timeout=timeout)

    @asynccontextmanager
    async def watch(self, path: str, query: Query = (), *, accept: str = JSON) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch and give its lines: without their ends, each bounded. It goes on for as long as it is read."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(SECONDS):
                connection = await self._open()
                await connection.ask("GET", self._target(path, query), self._headers(accept, b"", ""), b"")
                if connection.status != 200:
                    raise await self._error(connection)
            yield self._lines(connection)
        except OSError as error:  # a TimeoutError is one
            raise CallFailed(str(self._config.origin), cause_of(error)) from None
        finally:
            if connection is not None:
                connection.close()

    def close(self) -> None:
        """Close idle connections, and keep none from now on."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _call(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes = b"",
        content_type: str = "",
        *,
        accept: str = JSON,
        timeout: float,
    ) -> bytearray:
        target, headers = self._target(path, query), self._headers(accept, body, content_type)
        try:
            async with asyncio.timeout(timeout):
                used = self._take() if method == "GET" else None  # what changes something is never sent twice
                if used is not None:
                    try:
                        return await self._exchange(used, method, target, headers, body)
                    except (OSError, CallFailed):
                        pass  # it was closed while it lay idle, or fails again in a moment
                return await self._exchange(await self._open(), method, target, headers, body)
        except OSError as error:
            raise CallFailed(str(self._config.origin), cause_of(error)) from None

    async def _exchange(
        self, connection: Connection, method: str, target: str, headers: Query, body: bytes
    ) -> bytearray:
        failed: ApiError | None = None
        found = bytearray()
        try:
            await connection.ask(method, target, headers, body)
            if 200 <= connection.status < 300:
                found = await connection.body(LONGEST)
            else:
                failed = await self._error(connection)
        except BaseException:
            connection.close()
            raise
        if connection.reusable and len(self._idle) < _MOST_IDLE and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        if failed is not None:
            raise failed
        return found

    async def _open(self) -> Connection:
        config = self._config
        return await connect(config.origin, config.context(), config.server_name, seconds=CONNECT_SECONDS)

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.ended_before:
                return connection
            connection.close()
        return None

    def _target(self, path: str, query: Iterable[tuple[str, str]]) -> str:
        asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
        return f"{self._config.base}{quote(path)}" + (f"?{asked}" if asked else "")

    def _headers(self, accept: str, body: bytes, content_type: str) -> list[tuple[str, str]]:
        headers = [
            ("host", self._config.origin.authority),
            ("accept", accept if accept == JSON else f"{accept},{JSON}"),
            ("user-agent", f"rolecall/{__version__}"),
        ]
        token = self._config.token()
        if token is not None:
            headers.append(("authorization", f"Bearer {token.reveal()}"))
        if content_type:
            headers += [("content-type", content_type), ("content-length", str(len(body)))]
        return headers

    async def _error(self, connection: Connection) -> ApiError:
        body = bytearray()
        async for chunk in connection.chunks():
            body += chunk
            if len(body) > _LONGEST_ERROR:
                break
        said = connection.header("retry-after")
        wait = min(60.0, float(said)) if said.isascii() and said.isdecimal() and len(said) < 6 else 0.0
        return ApiError(connection.status, status_of(body), wait)

    async def _lines(self, connection: Connection) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in connection.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield line
            if len(rest) > LONGEST_LINE:
                raise CallFailed(str(self._config.origin), "too-long")

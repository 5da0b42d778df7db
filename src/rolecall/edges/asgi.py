"""An ASGI application around an exchange: a `Request` in, a `Reply` out (ASGI 3.0, HTTP)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rolecall.core.exchange import Reply, Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

Answer = Callable[[Request, bool], Awaitable[Reply]]
"""Answers a request; True says that its body was too long, is left out, and has to be refused."""

BODY_SECONDS = 30.0
"""Seconds that a body may take to arrive."""
# A connection that is closed with bytes unread is reset, and its client may never see the answer.
_THROWN_AWAY = 8 * 1024 * 1024


def application(answer: Answer, *, longest_body: int) -> Application:
    """Return an ASGI application that reads at most `longest_body` bytes of a body, then asks `answer`.

    Of a longer one some more is read and thrown away, so that its sender can hear the answer; then the
    connection is closed.
    """

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(receive, longest_body)
        except (ConnectionError, TimeoutError):
            return  # without an answer uvicorn closes the connection
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        query: bytes = scope.get("query_string", b"")
        target = raw_path + (b"?" + query if query else b"")
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        client = scope.get("client")
        peer = client[0] if client else ""
        request = Request(scope["method"], target.decode("latin-1"), headers, body or b"", peer)
        await _send(await answer(request, body is None), send, close=body is None)

    return app


async def _body(receive: Receive, longest: int) -> bytes | None:
    """Return the whole body, or None for one that is too long; raises `ConnectionError` for a client that left."""
    parts: list[bytes] = []
    size = 0
    while size <= longest + _THROWN_AWAY:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionAbortedError
        part = message.get("body", b"")
        size += len(part)
        if size > longest:
            parts.clear()
        else:
            parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts) if size <= longest else None
    return None


async def _send(reply: Reply, send: Send, *, close: bool = False) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})

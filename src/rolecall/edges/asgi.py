"""An ASGI application around an exchange: a `Request` in, a `Reply` out (ASGI 3.0, HTTP)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rolecall.core.exchange import Reply, Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_TOO_LARGE = Reply(413, b"the body is larger than is accepted here\n", (("content-type", "text/plain; charset=utf-8"),))


def application(answer: Callable[[Request], Awaitable[Reply]], *, longest_body: int) -> Application:
    """Return an ASGI application that reads at most `longest_body` bytes, then asks `answer`.

    A longer body is answered 413 without being read to its end.
    """

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive, longest_body)
        if body is None:
            await _send(_TOO_LARGE, send, close=True)
            return
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        query: bytes = scope.get("query_string", b"")
        target = raw_path + (b"?" + query if query else b"")
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        client = scope.get("client")
        request = Request(scope["method"], target.decode("latin-1"), headers, body, client[0] if client else "")
        await _send(await answer(request), send)

    return app


async def _body(receive: Receive, longest: int) -> bytes | None:
    """Return the whole body, or None for one that is too long or whose client went away."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > longest:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _send(reply: Reply, send: Send, *, close: bool = False) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})

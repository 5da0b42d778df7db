"""An exchange as an ASGI application: what the server hands in, and what is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rolecall.core.exchange import Reply, Request
from rolecall.edges.asgi import application


def play(messages: list[dict[str, Any]], **scope: Any) -> tuple[list[tuple[Request, bool]], list[Any], int]:
    """Run one request; return what was asked, what was sent, and how many messages were read."""
    asked: list[tuple[Request, bool]] = []
    sent: list[Any] = []
    left = list(messages)

    async def answer(request: Request, too_long: bool) -> Reply:
        asked.append((request, too_long))
        return Reply(413 if too_long else 200, b"words", (("content-type", "text/plain"),))

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    whole = {
        "type": "http",
        "method": "POST",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=%2F",
        "headers": [(b"x-two", b"1"), (b"x-two", b"\xff")],
        "client": ("127.0.0.1", 1),
        **scope,
    }
    asyncio.run(application(answer, longest_body=10)(whole, receive, send))
    return asked, sent, len(messages) - len(left)


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    """Return a message of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_request_and_its_reply() -> None:
    """Raw target, headers in order, the body of all messages; the reply has a length."""
    asked, sent, _ = play([part(b"hello", more=True), part(b"", more=True), part(b"world")])
    headers = (("x-two", "1"), ("x-two", "\xff"))
    assert asked == [(Request("POST", "/a%20b?x=%2F", headers, b"helloworld", "127.0.0.1"), False)]
    assert sent == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
        },
        {"type": "http.response.body", "body": b"words"},
    ]


def test_a_body_that_is_too_long_is_left_out() -> None:
    """Whoever answers is told, and the connection ends."""
    asked, sent, _ = play([part(b"hello world")])
    assert [(request.body, too_long) for request, too_long in asked] == [(b"", True)]
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_body_without_end_is_not_read_for_ever() -> None:
    """Some of it is, so that the answer is heard; nothing of it is kept."""
    chunk = bytes(2**20)
    asked, sent, read = play([part(chunk, more=True)] * 1000)
    assert read < 20
    assert asked[0][1] is True
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("before", [[], [part(b"a", more=True)]])
def test_a_client_that_went_away_is_not_answered(before: list[dict[str, Any]]) -> None:
    """Half a body is no request."""
    asked, sent, _ = play([*before, {"type": "http.disconnect"}])
    assert (asked, sent) == ([], [])


def test_what_is_not_http_is_left_alone() -> None:
    """No lifespan, no websocket."""
    assert play([], type="websocket") == ([], [], 0)

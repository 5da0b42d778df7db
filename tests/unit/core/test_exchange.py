"""A request as it arrived: nothing decoded, nothing merged."""

from __future__ import annotations

import pytest

from rolecall.core.exchange import Reply, Request


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/v1/credentials", "/v1/credentials", ""),
        ("/a%2Fb?c=%20&d", "/a%2Fb", "c=%20&d"),
        ("/a?b?c", "/a", "b?c"),
        ("/a?", "/a", ""),
        ("?x", "", "x"),
        ("*", "*", ""),
    ],
)
def test_path_and_query(target: str, path: str, query: str) -> None:
    """Split at the first question mark, still percent-encoded: SigV4 signs them as sent."""
    request = Request("GET", target, ())
    assert (request.path, request.query) == (path, query)


def test_headers() -> None:
    """The first value, all values in order of arrival, and None for what is not there."""
    request = Request("GET", "/", (("host", "a"), ("x", "1"), ("x", ""), ("x", "1")))
    assert request.header("host") == "a"
    assert request.header("x") == "1"
    assert request.header("y") is None
    assert list(request.header_values("x")) == ["1", "", "1"]
    assert list(request.header_values("y")) == []


def test_names_are_compared_as_given() -> None:
    """Whoever makes a request lowers the names once; nobody does it again."""
    assert Request("GET", "/", (("host", "a"),)).header("Host") is None


def test_a_reply_is_empty_unless_told() -> None:
    """No body and no headers: length and date are the server's."""
    assert (Reply(204).body, Reply(204).headers) == (b"", ())

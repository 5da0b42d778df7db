"""The webhook's HTTPS port, without a socket: what a request for a review must be, before it is read."""

from __future__ import annotations

from functools import lru_cache

from rolecall.core.exchange import Reply, Request
from rolecall.core.frozen import frozen
from rolecall.daemons.environment import seconds
from rolecall.errors import Misconfigured

LONGEST_BODY = 3 << 20
"""Bytes of a review: what the API server takes as a request, and an answer to itself."""
PATIENCE = 10.0
"""Seconds that a review has where the request says nothing: the API server's default."""
LONGEST_PATIENCE = 30.0
JSON = (("content-type", "application/json"),)
_TEXT = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_HOW = (
    b"This is the admission webhook of Rolecall. The API server sends it reviews of new pods, with POST; "
    b"`rolecall webhook mutate -f pod.yaml` shows what it does to a pod.\n"
)


@frozen
class Asked:
    """A body that claims to be a review, and the seconds within which it must be answered."""

    body: bytes
    within: float


def parse(request: Request) -> Asked | Reply:
    """Return the review that is asked for, or the answer to what asks for none."""
    path, patience = _target(request.target)
    if path == "/healthz" and request.method in {"GET", "HEAD"}:
        return text(200, "ok")
    if path != "/mutate":
        return text(404, "404 page not found\n", "no-such-path")
    if request.method in {"GET", "HEAD"}:
        return Reply(405, _HOW, (*_TEXT, ("allow", "POST")), "method")
    if request.method != "POST":
        return Reply(405, b"use POST\n", (*_TEXT, ("allow", "POST")), "method")
    kind = request.header("content-type") or ""
    if kind != "application/json" and kind.partition(";")[0].strip().lower() != "application/json":
        return text(415, "Invalid Content-Type, expected `application/json`\n", "content-type")
    if not request.body:
        return text(400, "the body is empty; send an AdmissionReview\n", "empty-body")
    return Asked(request.body, patience)


def text(status: int, words: str, reason: str = "", *, retry: bool = False) -> Reply:
    """Return an answer in words; with `retry` it says that a second later things may be better."""
    return Reply(status, words.encode(), (*_TEXT, *((("retry-after", "1"),) if retry else ())), reason)


@lru_cache(64)
def _target(target: str) -> tuple[str, float]:
    """Return the path, and the seconds that the API server waits (``?timeout=10s``), less what the way back takes."""
    path, _, query = target.partition("?")
    said = next((part[8:] for part in query.split("&") if part.startswith("timeout=")), "")
    try:
        found = seconds(said) if said else PATIENCE
    except Misconfigured:
        found = PATIENCE
    return path, 0.9 * min(found or PATIENCE, LONGEST_PATIENCE)

"""A web page must not be able to use the plane: refuse by headers, before anything is parsed.

A browser sends `Origin` or `Sec-Fetch-Site` with what a page makes it send, and after a DNS rebinding it sends the
page's name as `Host`. AWS clients send neither. No answer carries CORS headers.
"""

from __future__ import annotations

from collections.abc import Iterable

from rolecall.core.exchange import Reply, Request

_PLAIN = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
LONGEST_BODY = 256 * 1024


class Guard:
    """Knows which names the plane answers to."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in ("127.0.0.1", "localhost", "[::1]", *names))

    def refuse(self, request: Request) -> Reply | None:
        """Return the refusal, or None for a request that may go on.

        421 for a `Host` that is not ours, 403 for anything a web page sent, 413 for a body over 256 KiB.
        """
        hosts = request.header_values("host")
        if len(hosts) != 1:
            return Reply(400, b"exactly one Host header is needed\n", _PLAIN)
        if _host_name(hosts[0]) not in self._names:
            return Reply(
                421,
                b"this Host is not served here; use 127.0.0.1 or localhost, or start with --allow-host\n",
                _PLAIN,
            )
        if request.header("origin") is not None:
            return Reply(403, b"web pages may not use this endpoint\n", _PLAIN)
        if request.header("sec-fetch-site") not in (None, "none"):
            return Reply(403, b"web pages may not use this endpoint\n", _PLAIN)
        if len(request.body) > LONGEST_BODY:
            return Reply(413, b"the body is larger than any AWS identity call\n", _PLAIN)
        return None


def _host_name(host: str) -> str:
    """Return the lower-case name in a Host header, without its port; IPv6 keeps its brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]

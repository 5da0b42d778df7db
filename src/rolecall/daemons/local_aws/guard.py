"""A web page must not be able to use the plane: refuse by headers, before anything is parsed.

A browser sends `Origin` or `Sec-Fetch-Site` with what a page makes it send, and after a DNS rebinding it sends the
page's name as `Host`. AWS clients send neither. No answer carries CORS headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rolecall.core.exchange import Request
from rolecall.errors import ServiceError

LONGEST_BODY = 256 * 1024
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


class Guard:
    """Knows which names the plane answers to."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in ("127.0.0.1", "localhost", "[::1]", *names))

    def refuse(self, request: Request, *, too_long: bool = False) -> ServiceError | None:
        """Return the refusal, or None for a request that may go on.

        400 without exactly one `Host`, 421 for one that is not ours, 403 for anything a web page sent, 413 for a
        body over 256 KiB.
        """
        hosts = request.header_values("host")
        if len(hosts) != 1:
            return ServiceError("InvalidRequest", "exactly one Host header is needed", status=400)
        if _host_name(hosts[0]) not in self._names:
            return ServiceError(
                "MisdirectedRequest",
                "this Host is not served here; use 127.0.0.1 or localhost, or start with --allow-host",
                status=421,
            )
        if sent_by_page(request):
            return ServiceError("AccessDenied", "web pages may not use this endpoint", status=403)
        if too_long or len(request.body) > LONGEST_BODY:
            return ServiceError(
                "RequestEntityTooLarge", "the body is larger than that of any AWS identity call", status=413
            )
        return None


def sent_by_page(request: Request) -> bool:
    """Say whether a browser sent this for a page, and not for the person in front of it."""
    sites = set(request.header_values("sec-fetch-site"))
    return request.header("origin") is not None or bool(sites - {"none"})


def _host_name(host: str) -> str:
    """Return the lower-case name in a Host header, without its port; IPv6 keeps its brackets. Empty for no name."""
    found = _HOST.fullmatch(host.strip().lower())
    return found[1] if found else ""

"""A request and a reply at a door: bytes and headers, without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from rolecall.core.frozen import frozen

Headers = tuple[tuple[str, str], ...]


@frozen
class Request:
    """An HTTP request as it arrived.

    `target` is the raw request target (path and query, still percent-encoded): SigV4 signs it as sent.
    Header names are lower-case, in order of arrival, duplicates kept. `peer` is the client's address. `raw`
    holds the very bytes it arrived as, where a door keeps them and it came alone; `last` says that the client
    asks for nothing more on its connection. A repr shows neither headers nor body.
    """

    method: str
    target: str
    headers: Headers
    body: bytes = b""
    peer: str = ""
    raw: bytes = b""
    last: bool = False

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path[:200]!r}, {len(self.headers)} headers, {len(self.body)} bytes)"

    @property
    def path(self) -> str:
        """The raw path, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query, without the question mark."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """Return the first value of a header (lower-case name), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def header_values(self, name: str) -> Sequence[str]:
        """Return all values of a header, in order of arrival."""
        return [value for key, value in self.headers if key == name]


@frozen
class Reply:
    """An HTTP reply. Content-Length and Date are the server's to add.

    `reason` is never sent: the stable word of a refusal, for counters and logs. With `hops`, neither this reply nor
    any after it on the connection passes through so many routers: each is a step for the packets' time to live.
    """

    status: int
    body: bytes = b""
    headers: Headers = field(default=())
    reason: str = field(default="", compare=False)
    hops: int = field(default=0, compare=False)

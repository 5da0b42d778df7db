"""A call over HTTP to somebody we depend on: where it goes, and the plain word for why it came to nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from rolecall.errors import Misconfigured, Upstream

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


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the host header: the port is left out where it is the scheme's own."""
        whole = self.with_port
        return whole.rpartition(":")[0] if self.port == _default_port(self.scheme) else whole

    @property
    def with_port(self) -> str:
        """Host and port, as a proxy is asked for them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

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


def cause_of(error: Exception) -> Cause:
    """Return the plain word for what went wrong; the order matters where classes overlap."""
    kinds: tuple[tuple[type[Exception], Cause], ...] = (
        (socket.gaierror, "dns"),
        (TimeoutError, "timeout"),
        (ssl.SSLError, "tls"),
        (ConnectionRefusedError, "refused"),
        (ConnectionError, "closed"),
        (UnicodeError, "dns"),
        (ValueError, "garbled"),
    )
    return next((cause for kind, cause in kinds if isinstance(error, kind)), "unreachable")

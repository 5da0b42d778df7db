"""Which proxy stands between us and an origin: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as handed in."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from rolecall.core.secrets import Secret
from rolecall.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy; `authorization` is the value of Proxy-Authorization where its URL has a user."""

    host: str
    port: int
    authorization: Secret | None = None


class Proxies:
    """The proxies of an environment.

    `values` holds environment variables: ``http_proxy``, ``https_proxy`` and ``no_proxy`` in either case (the
    lower-case one wins). NO_PROXY is a comma list of: ``*``, a host (itself and its subdomains), ``.suffix``
    (subdomains only), an address, a CIDR range; each may end in ``:port``. Loopback is never proxied.
    Raises `Misconfigured` for a proxy URL that cannot be read; the message does not repeat it.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        def value(name: str) -> str:
            return (values.get(name) or values.get(name.upper()) or "").strip()

        self._by_scheme = {
            scheme: _parse(f"{scheme}_proxy", value(f"{scheme}_proxy"))
            for scheme in ("http", "https")
            if value(f"{scheme}_proxy")
        }
        self._direct = [rule.lower() for rule in map(str.strip, value("no_proxy").split(",")) if rule]

    def for_origin(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy for an origin, or None for a direct connection."""
        proxy = self._by_scheme.get(scheme)
        if proxy is None or self._is_direct(host.lower().rstrip("."), port):
            return None
        return proxy

    def _is_direct(self, host: str, port: int) -> bool:
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_matches(rule, host, address, port) for rule in self._direct)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _matches(rule: str, host: str, address: _Address | None, port: int) -> bool:
    if rule == "*":
        return True
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        rule = name
    if address is None:
        return host.endswith(rule) if rule.startswith(".") else host == rule or host.endswith(f".{rule}")
    try:
        return address in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        return False


def _parse(name: str, text: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme != "http":
        raise Misconfigured(
            f"{name} is not the URL of an HTTP proxy",
            hint="write it as http://host:port; https proxies are not used",
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = Secret("Basic " + base64.b64encode(pair.encode()).decode("ascii"))
    return Proxy(host, port or 80, authorization)

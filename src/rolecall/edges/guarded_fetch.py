"""One GET of a URL that somebody else wrote: bounded, and kept away from our own networks.

https, or http on this machine; no redirects; no loopback, link-local, private or otherwise special addresses
unless allowed; so many bytes. A name is resolved once: the addresses that were checked are those connected to, so
that a name which means another host a moment later (DNS rebinding) leads nowhere. Time is bounded by the caller.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from rolecall.errors import Upstream

LONGEST_URL = 2048
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns all addresses of a host, the preferred one first; raises `OSError` where it has none."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_GLOBAL = ipaddress.IPv6Network("2000::/3")  # RFC 4291: all global unicast that is given out
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")  # RFC 6890; not private to every Python
# Kubernetes serves its keys by RFC 7517's own type, and answers 406 to whoever does not name it.
_ACCEPT = "application/json, application/jwk-set+json"
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body, and whether it came from this machine."""

    body: bytes
    loopback: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL, taken apart."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str


class GuardedFetcher:
    """Fetches. `allow_private` are host names that may have addresses of any kind; `ca_file` replaces the
    system's certificates; `resolve` replaces the system's resolver."""

    def __init__(
        self, *, allow_private: frozenset[str] = frozenset(), ca_file: str | None = None, resolve: Resolve | None = None
    ) -> None:
        self._allow_private = frozenset(host.lower() for host in allow_private)
        self._ca_file = ca_file
        self._resolve = resolve or _resolve
        self._context: ssl.SSLContext | None = None

    async def get(self, url: str, *, longest: int, loopback: bool) -> Fetched:
        """Return the body of an answer with status 200; raises `Upstream` for everything else.

        `longest` bounds the body in bytes; `loopback` says whether this machine may be asked.
        """
        place = _place(url)
        addresses = await self._addresses(place, loopback=loopback)
        context = await self._tls() if place.scheme == "https" else None
        fault: Exception | None = None
        for address in addresses:
            try:
                body = await _exchange(place, str(address), context, longest)
            except (OSError, h11.ProtocolError) as error:
                fault = error
                continue
            return Fetched(body, _inner(address).is_loopback)
        raise Upstream(f"{place.authority} could not be asked: {_words(fault)}")

    async def _addresses(self, place: _Place, *, loopback: bool) -> list[_Address]:
        """Return those of the host's addresses that may be connected to; raises `Upstream` for none."""
        try:
            found = [ipaddress.ip_address(text) for text in await self._resolve(place.host, place.port)]
        except (OSError, ValueError):
            found = []
        if not found:
            raise Upstream(f"the host {place.host} has no address")
        private = place.host in self._allow_private
        reasons = [_forbidden(place, _inner(address), loopback=loopback, private=private) for address in found]
        allowed = [address for address, reason in zip(found, reasons, strict=True) if not reason]
        if not allowed:
            raise Upstream(f"the host {place.host} {reasons[0]}")
        return allowed

    async def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            try:
                self._context = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
            except OSError:  # ssl.SSLError is one
                raise Upstream(f"the CA file {self._ca_file} cannot be used") from None
        return self._context


def _place(url: str) -> _Place:
    shown = ascii(url[:200])
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Upstream(f"{shown} is not a URL") from None
    if parts.scheme not in _PORTS or not host or len(url) > LONGEST_URL or not url.isascii():
        raise Upstream(f"{shown} is not an https URL")
    if parts.username is not None or parts.password is not None:
        raise Upstream(f"a URL of {host!a} has a user in it")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, host, port or _PORTS[parts.scheme], parts.netloc, target)


async def _resolve(host: str, port: int) -> Sequence[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that IDNA cannot encode
        raise OSError from None
    return [str(entry[4][0]) for entry in found]


def _inner(address: _Address) -> _Address:
    """Return the IPv4 address inside of an IPv6 one where that is where packets go in the end."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _forbidden(place: _Place, address: _Address, *, loopback: bool, private: bool) -> str:
    """Return why this address must not be connected to; nothing where it may be."""
    if place.scheme == "http" and not address.is_loopback:
        return "is not this machine: it must use https"
    if private:
        return ""
    if address.is_loopback:
        return "" if loopback else "is this machine, which a document from elsewhere may not send us to"
    if not _is_public(address):
        return "has a private address; allow it with --allow-private-issuer"
    return ""


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        return address in _GLOBAL and address.is_global
    return address not in _PROTOCOLS and address.is_global and not address.is_multicast and not address.is_reserved


async def _exchange(place: _Place, address: str, context: ssl.SSLContext | None, longest: int) -> bytes:
    """Ask exactly this address, whose certificate must be for the host. The answer is read by RFC 9112's rules."""
    name = place.host if context else None
    reader, writer = await asyncio.open_connection(address, place.port, ssl=context, server_hostname=name)
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = [("Host", place.authority), ("Accept", _ACCEPT), ("Connection", "close")]
        writer.write(connection.send(h11.Request(method="GET", target=place.target, headers=headers)) or b"")
        connection.send(h11.EndOfMessage())
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Response):
                if event.status_code != 200:
                    raise Upstream(f"{place.authority} answered {event.status_code}; redirects are not followed")
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > longest:
                    raise Upstream(f"the answer of {place.authority} is longer than {longest} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            elif not isinstance(event, h11.InformationalResponse):
                raise Upstream(f"{place.authority} did not answer in HTTP")
    finally:
        writer.transport.abort()


def _words(fault: Exception | None) -> str:
    """Return what went wrong, in words that show nothing of what came."""
    match fault:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted ({fault.verify_message})"
        case ConnectionRefusedError():
            return "it refused the connection"
        case h11.ProtocolError():
            return "it did not answer in HTTP"
    return type(fault).__name__

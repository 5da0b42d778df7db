"""Listening sockets, and clear words where there can be none."""

from __future__ import annotations

import errno
import ipaddress
import socket

from rolecall.errors import Misconfigured

Listener = socket.socket


def bind_tcp(host: str, port: int, *, flag: str = "--port") -> socket.socket:
    """Return a listening, non-blocking socket; raises `Misconfigured`, whose hint names the flag to change."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(1024)
        listener.setblocking(False)
    except (OSError, OverflowError, UnicodeError) as fault:
        listener.close()
        if isinstance(fault, OSError) and fault.errno == errno.EADDRINUSE:
            raise Misconfigured(
                f"{host}:{port} is in use by another program",
                hint=f"stop it, or choose another address with {flag}",
            ) from None
        why = fault.strerror if isinstance(fault, OSError) else "that is no address and port"
        raise Misconfigured(
            f"cannot listen on {host}:{port}: {why}", hint=f"choose another address with {flag}"
        ) from None
    return listener


def limit_hops(connected: socket.socket, hops: int) -> None:
    """Have a connection's packets live for so many hops, those that are sent again as well."""
    if connected.family == socket.AF_INET6:
        connected.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    if connected.family == socket.AF_INET:
        connected.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


def shown_address(listener: socket.socket) -> str:
    """Return ``host:port`` of a bound socket, with brackets around IPv6."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_url(listener: socket.socket) -> str:
    """Return the URL by which this machine reaches a listener, also one on every address."""
    address = shown_address(listener)
    host, _, port = address.rpartition(":")
    if ipaddress.ip_address(host.strip("[]")).is_unspecified:
        host = "[::1]" if ":" in host else "127.0.0.1"
    return f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

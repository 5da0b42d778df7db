"""Unit tests have no network and do not wait: whoever tries fails, and cannot swallow it.

Refused are connections, listeners and names on anything but a Unix socket, by sockets, asyncio and uvloop alike, and
sleeping longer than 0.05 s (`rolecall.testing.fake_clock.FakeClock` waits in virtual time). Not seen: waiting by other
means (`Event.wait`, `call_later`), and what child processes do.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import uvloop

LONGEST_SLEEP = 0.05
_ADDRESSED = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"})
_NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"})


class OutsideTouched(RuntimeError):
    """A unit test has touched the network, or has waited for real."""


class _Guard:
    """Refuses while a unit test runs, and remembers what it refused."""

    def __init__(self) -> None:
        self.on = False
        self.refused: list[str] = []

    def refuse(self, what: str) -> NoReturn:
        self.refused.append(what)
        raise OutsideTouched(f"{what}: unit tests have no network and wait in virtual time; see tests/unit/conftest.py")

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """See what CPython does with sockets, however it was asked to (PEP 578)."""
        if not self.on or not event.startswith("socket."):
            return
        if event in _NAMES:
            self.refuse(f"{event} of {args[0]!r}")
        if event in _ADDRESSED and args[0].family != socket.AF_UNIX:
            self.refuse(f"{event} to {args[1]!r}")


_guard = _Guard()
# A hook cannot be taken away again; outside of unit tests it is off.
sys.addaudithook(_guard.audit)


@pytest.fixture(autouse=True)
def no_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse network and waiting during the test; fail it where something was refused and that was swallowed."""
    _watch_sleep(monkeypatch)
    _watch_uvloop(monkeypatch)
    _guard.refused.clear()
    _guard.on = True
    try:
        yield
    finally:
        _guard.on = False
    if _guard.refused:
        pytest.fail(f"touched the outside: {'; '.join(_guard.refused)}", pytrace=False)


def _watch_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    block, pause = time.sleep, asyncio.sleep

    def sleep(seconds: float) -> None:
        if seconds > LONGEST_SLEEP:
            _guard.refuse(f"time.sleep({seconds})")
        block(seconds)

    async def asyncio_sleep(delay: float, result: object = None) -> object:
        if delay > LONGEST_SLEEP:
            _guard.refuse(f"asyncio.sleep({delay})")
        return await pause(delay, result)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(asyncio, "sleep", asyncio_sleep)


def _watch_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch the calls by which uvloop goes past Python's sockets; with a socket handed in they stay allowed."""
    for name in ("create_connection", "create_datagram_endpoint", "getaddrinfo", "getnameinfo"):
        monkeypatch.setattr(uvloop.Loop, name, _watched(name), raising=False)


def _watched(name: str) -> Any:
    wrapped = getattr(uvloop.Loop, name)

    async def call(loop: asyncio.AbstractEventLoop, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("sock") is None:
            _guard.refuse(f"uvloop's {name}{args[1:] if name.startswith('create') else args}")
        return await wrapped(loop, *args, **kwargs)

    return call

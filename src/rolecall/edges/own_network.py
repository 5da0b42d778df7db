"""A network of a program's own: loopback, addresses that really are elsewhere, and doors that lead out of it.

It is a network namespace (network_namespaces(7)) with nothing in it but the loopback link. At each door somebody
listens inside, and passes what comes on to an address outside. There is no other way out.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_interface

from rolecall.edges.netlink import open_netlink
from rolecall.edges.relay import relay
from rolecall.edges.rtnetlink import Address
from rolecall.edges.sockets import Listener, bind_tcp, is_loopback
from rolecall.errors import Misconfigured

Door = tuple[str, int]
Enter = Callable[[], None]
"""Called between fork and exec, it puts the new process into the network."""

_CLONE_NEWNET = 0x40000000  # linux/sched.h


@dataclass(frozen=True, slots=True)
class _Made:
    handle: int
    listeners: Mapping[Door, Listener]
    owned: ExitStack


@asynccontextmanager
async def own_network(doors: Mapping[Door, Door]) -> AsyncIterator[Enter]:
    """Make a network for as long as the context lasts; `doors` are where to listen inside, and where that leads.

    Raises `Misconfigured` where this system or this user cannot make one.
    """
    libc = _libc()
    with ThreadPoolExecutor(max_workers=1) as thread:  # only its one thread ever leaves our network
        made = await asyncio.get_running_loop().run_in_executor(thread, _make, libc, tuple(doors))

    def enter() -> None:
        if libc.setns(made.handle, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    with made.owned:
        async with AsyncExitStack() as served:
            for door, listener in made.listeners.items():
                await served.enter_async_context(relay(listener, doors[door]))
            yield enter


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or not hasattr(libc, "setns"):
        raise Misconfigured("a network of its own is there on Linux only", hint="leave --own-network out")
    return libc


def _make(libc: ctypes.CDLL, doors: Iterable[Door]) -> _Made:
    """Make the network around the calling thread, which is never used again; return what keeps it."""
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise Misconfigured(
            f"a network of its own cannot be made: {os.strerror(ctypes.get_errno())}",
            hint="it needs root (CAP_SYS_ADMIN); without --own-network a program is told of the doors by variables",
        )
    with ExitStack() as owned:
        handle = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        owned.callback(os.close, handle)
        with open_netlink() as kernel:
            link = kernel.link("lo")
            if link is None:
                raise Misconfigured("a new network has no loopback link", hint="leave --own-network out")
            kernel.set_up(link)
            for host in sorted({host for host, _ in doors if not is_loopback(host)}):
                kernel.add_address(Address(link.index, ip_interface(host)))
        listeners = {}
        for host, port in doors:
            listeners[host, port] = bind_tcp(host, port)
            owned.callback(listeners[host, port].close)
        return _Made(handle, listeners, owned.pop_all())

"""A network namespace of one's own for a while: the network of a pod that is not there yet.

It belongs to a thread, so it is gone, with all that was made in it, when the thread ends or the process dies.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rolecall.errors import Misconfigured

T = TypeVar("T")

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h

LANDED, ELSEWHERE, REFUSED, SILENT = "landed", "elsewhere", "refused", "silent"


class NetworkNamespace:
    """One that exists. `descriptor` names it to the kernel."""

    def __init__(self, thread: ThreadPoolExecutor, descriptor: int) -> None:
        self._thread, self.descriptor = thread, descriptor

    def do(self, work: Callable[[], T]) -> T:
        """Return what `work` returns inside."""
        return self._thread.submit(work).result()

    def reach(self, host: str, port: int, door: tuple[str, int] | None, patience: float) -> str:
        """Connect from inside, and say what came of it.

        LANDED: at the door, an address and port of the network that the caller is in. ELSEWHERE: at something else.
        REFUSED: it was reset. SILENT: there was no answer in time, or no way.
        """
        try:
            connection = self.do(lambda: socket.create_connection((host, port), patience))
        except ConnectionRefusedError:
            return REFUSED
        except OSError:
            return SILENT
        with connection:
            here = connection.getsockname()[:2]
            return LANDED if door is not None and _is_connected(door, here) else ELSEWHERE


@contextmanager
def new_network_namespace() -> Iterator[NetworkNamespace]:
    """Make one; raises `Misconfigured` where that is not allowed."""
    with ThreadPoolExecutor(1, "namespace") as thread:
        descriptor = thread.submit(_leave).result()
        try:
            yield NetworkNamespace(thread, descriptor)
        finally:
            os.close(descriptor)


def _leave() -> int:
    """Have the calling thread live in a new namespace; return a descriptor of it."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        code = ctypes.get_errno()
        raise Misconfigured(
            f"cannot make a network namespace: {os.strerror(code)} ({errno.errorcode.get(code, code)})",
            hint="it needs the capability SYS_ADMIN: securityContext.capabilities.add: [SYS_ADMIN]",
        )
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _is_connected(local: tuple[str, int], remote: tuple[str, int]) -> bool:
    """Say whether the calling thread's network has a connection between these two, in whatever state it is by now."""
    table = Path("/proc/thread-self/net", "tcp6" if ":" in local[0] else "tcp").read_text("ascii")
    rows = (line.split()[1:3] for line in table.splitlines()[1:])
    return [_written(*local), _written(*remote)] in rows


def _written(host: str, port: int) -> str:
    """Return address and port as the kernel lists them: words of its own byte order."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"

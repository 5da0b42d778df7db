"""Other network namespaces, entered by this thread: what it opens there is of there, and so is what it starts."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000  # setns(2); Python has it from 3.12 on
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(namespace: Path) -> Iterator[None]:
    """Be in a network namespace, that of a file such as ``/proc/PID/ns/net``, until the end of the block."""
    with _opened(Path("/proc/thread-self/ns/net")) as back, _opened(namespace) as there:
        _enter(there)
        try:
            yield
        finally:
            _enter(back)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")

"""The directory of one ``rolecall run``: token files and empty AWS files, private, gone when the run has ended."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rolecall.edges import entropy
from rolecall.edges.state_dir import StateDir, write_private
from rolecall.errors import Misconfigured

_LOCK = "lock"
_RUN = re.compile("[0-9a-f]{12}")


class RunDir:
    """A directory (0700) whose files only their owner can read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: bytes) -> Path:
        """Write a file in one step: a reader sees the old content or the new, never half. Return its path.

        Raises `Misconfigured` where it cannot be written.
        """
        try:
            write_private(self.path / name, content)
        except OSError as fault:
            raise Misconfigured(f"{self.path / name} cannot be written: {fault.strerror}") from None
        return self.path / name


@contextmanager
def run_dir(state: StateDir) -> Iterator[RunDir]:
    """Make a directory for one run and remove it after; first remove those of runs that were killed.

    Raises `Misconfigured` where the state directory cannot be written.
    """
    try:
        with _creating(state.runs):
            _sweep(state.runs)
            path = state.runs / entropy.token_hex(6)
            path.mkdir(mode=0o700)
            handle = _lock(path / _LOCK)
    except OSError as fault:
        raise Misconfigured(f"{state.runs} cannot be written: {fault.strerror}") from None
    try:
        yield RunDir(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def sweep(state: StateDir) -> None:
    """Remove the directories of runs that ended without doing it themselves."""
    with _creating(state.runs):
        _sweep(state.runs)


@contextmanager
def _creating(runs: Path) -> Iterator[None]:
    """Hold the lock under which directories appear, so that none is swept before it is locked itself."""
    runs.mkdir(exist_ok=True, mode=0o700)
    handle = _lock(runs / _LOCK, wait=True)
    try:
        yield
    finally:
        os.close(handle)


def _lock(path: Path, *, wait: bool = False) -> int:
    """Return a handle that holds the lock until it is closed or its process ends; raises `BlockingIOError`."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        raise
    return handle


def _sweep(runs: Path) -> None:
    for path in runs.iterdir():
        if not _RUN.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue  # not one of ours
        try:
            handle = _lock(path / _LOCK)
        except OSError:
            continue  # its run is alive, or it is not ours to remove
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)

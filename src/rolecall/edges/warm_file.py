"""A file that is memory: on tmpfs, in a directory of its owner's only, written in one step, and never on a disk.

What a process holds in it is there for the process after it, and gone with the machine. Nothing is synced: there is
no disk. A file that is half written has another name, so that being killed costs the newest state and no more.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rolecall.errors import Misconfigured

LONGEST = 16 * 1024 * 1024
"""Bytes of such a file: 2,000 credentials have four million."""

MOUNTS = Path("/proc/self/mountinfo")
_MEMORY = frozenset({"tmpfs", "ramfs"})
_HINT = "name a file in a directory of its own on tmpfs: a hostPath below /run, or an emptyDir with medium Memory"
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # the last for reading: a pipe must not be waited for


class Unusable(Exception):
    """What is at the path is not what this process may believe; the message says why."""


class WarmFile:
    """The file at `path`, whose directory is made, 0700, where it is missing.

    Raises `Misconfigured` where the directory is a link, another's, open to others, or not in memory. Whoever may
    write into it is this user, so only the directory is looked at by path; the file is found in it, by its name.
    """

    def __init__(self, path: Path, *, mounts: Path = MOUNTS) -> None:
        self.path = path
        self._mounts = mounts
        self._half = f".{path.name}.half"
        self._writing = threading.Lock()
        try:
            with suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
            with self._directory():
                pass
        except OSError as fault:
            raise Misconfigured(f"{path.parent}: {fault.strerror}", hint=_HINT) from None

    def write(self, parts: Iterable[bytes]) -> None:
        """Replace the file by these parts, in one step; raises `Unusable` or `OSError` and leaves it as it was.

        Threads take turns: they write to the same half.
        """
        with self._writing, self._directory() as directory:
            with suppress(FileNotFoundError):
                os.unlink(self._half, dir_fd=directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
            try:
                with os.fdopen(os.open(self._half, flags, 0o600, dir_fd=directory), "wb") as file:
                    _copy(parts, file)
                os.rename(self._half, self.path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(self._half, dir_fd=directory)
                raise

    def read(self) -> bytes | None:
        """Return what is in it, None where there is none; raises `Unusable` or `OSError`."""
        with self._directory() as directory:
            try:
                handle = os.open(self.path.name, os.O_RDONLY | _FLAGS, dir_fd=directory)
            except FileNotFoundError:
                return None
            with os.fdopen(handle, "rb") as file:
                _check_file(os.fstat(handle))
                return file.read(LONGEST + 1)

    def remove(self) -> None:
        """Remove it, and what is half written, if they are there; raises `OSError`."""
        with self._directory() as directory:
            for name in (self.path.name, self._half):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)

    @contextmanager
    def _directory(self) -> Iterator[int]:
        """Open the directory, and look at what was opened: it may have been replaced since it was looked at last."""
        handle = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._check_directory(os.fstat(handle))
            yield handle
        finally:
            os.close(handle)

    def _check_directory(self, found: os.stat_result) -> None:
        if found.st_uid != os.geteuid():
            raise Misconfigured(f"{self.path.parent} belongs to another user", hint=_HINT)
        if found.st_mode & 0o077:
            raise Misconfigured(f"{self.path.parent} is open to other users", hint=f"chmod 700 {self.path.parent}")
        kind = _filesystem(self._mounts, found.st_dev)
        if kind not in _MEMORY:
            raise Misconfigured(f"{self.path.parent} is on {kind or 'an unknown file system'}, not tmpfs", hint=_HINT)


def _copy(parts: Iterable[bytes], file: object) -> None:
    written = 0
    for part in parts:
        written += len(part)
        if written > LONGEST:
            raise Unusable(f"it would be longer than {LONGEST} bytes")
        file.write(part)  # type: ignore[attr-defined]


def _check_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("it is no file")
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or found.st_nlink > 1:  # 0: a newer one took its place
        raise Unusable("others may have written it")
    if found.st_size > LONGEST:
        raise Unusable(f"it is longer than {LONGEST} bytes")


def _filesystem(mounts: Path, device: int) -> str | None:
    """Return the kind of file system that a device number has (proc(5): mountinfo, fields 3 and those after "-")."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.read_text("utf-8", "replace").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 2 and fields[2] == number:
            return after.partition(" ")[0]
    return None

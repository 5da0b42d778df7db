"""A socket in the file system, for the operator of this machine: nobody else can open it, no network reaches it."""

from __future__ import annotations

import http.client
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from rolecall.errors import Misconfigured

LONGEST_PATH = 107
"""Bytes of a socket's path (unix(7): 108 with the terminating zero)."""

LONGEST_ANSWER = 16 * 1024 * 1024
_FLAG = "choose another path with --admin-socket"


class AdminSocket:
    """A listening socket at `path`, open to its owner only (0600).

    Raises `Misconfigured` where there can be none: a path that is too long, a directory that others may write
    to, something else in its place, or another process that listens there. What a killed process of the same
    user left behind is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _check_directory(path)
            _make_room(path)
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            try:
                self.listener.bind(str(path))
            finally:
                os.umask(before)
            self.listener.listen(16)
            self.listener.setblocking(False)
            self._made = _identity(path.lstat())
        except OSError as fault:
            raise Misconfigured(f"cannot listen on {path}: {fault.strerror or fault}", hint=_FLAG) from None

    def remove(self) -> None:
        """Remove the file, where it is still this one's."""
        with suppress(OSError):
            if _identity(self.path.lstat()) == self._made:
                self.path.unlink()


def ask_admin(path: Path, target: str, *, timeout: float) -> bytes:
    """Return the body of a process's answer to ``GET target``, asked at its admin socket.

    Raises `Misconfigured` where nobody answers, or where the socket belongs to another user than root and this
    one: what such a one says is not worth believing.
    """
    try:
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode):
            raise Misconfigured(f"{path} is no socket", hint="name the path that the agent was given")
        if found.st_uid not in (0, os.geteuid()):
            raise Misconfigured(f"{path} belongs to another user", hint="ask as the user that the agent runs as")
        return _get(path, target, timeout)
    except OSError as fault:
        raise Misconfigured(
            f"nobody answers at {path}: {fault.strerror or fault}",
            hint="start the agent with --admin-socket PATH, and ask as its user, on its node",
        ) from None
    except http.client.HTTPException as fault:
        raise Misconfigured(f"{path} does not answer as an agent does: {type(fault).__name__}") from None


def _get(path: Path, target: str, timeout: float) -> bytes:
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(path))
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read(LONGEST_ANSWER)
        if answer.length:
            raise http.client.IncompleteRead(b"")
    finally:
        connection.close()
    if answer.status != 200:
        raise Misconfigured(f"{path} answered with status {answer.status}")
    return body


def _check_directory(path: Path) -> None:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Misconfigured(f"{path} is longer than {LONGEST_PATH} bytes, which no socket's path may be", hint=_FLAG)
    found = path.parent.stat()
    open_to_others = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if open_to_others or found.st_uid not in (0, os.geteuid()):
        raise Misconfigured(f"others may write to {path.parent}: they could take the socket's place", hint=_FLAG)


def _make_room(path: Path) -> None:
    """Remove what a process of ours left; leave everything else, and say so."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise Misconfigured(f"{path} is there already, and is no socket of this user", hint=_FLAG)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(str(path)) == 0:
            raise Misconfigured(f"another process listens at {path}", hint=_FLAG)
    path.unlink()


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    """Return what tells a file from another one at the same path: inode numbers alone are used again at once."""
    return found.st_dev, found.st_ino, found.st_ctime_ns

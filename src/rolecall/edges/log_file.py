"""The log of a process in a file of bounded size, readable by its owner only."""

from __future__ import annotations

import logging
import logging.handlers
import os
from io import TextIOWrapper
from pathlib import Path

from rolecall.edges.telemetry import LEVELS, ROOT, JsonLines
from rolecall.errors import Misconfigured

LONGEST = 10 * 1024 * 1024


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """Opens its file, the first and each that follows, for its owner only, and never through a symbolic link."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.baseFilename, flags, 0o600)
        os.fchmod(handle, 0o600)
        return TextIOWrapper(os.fdopen(handle, "ab", buffering=0), encoding=self.encoding, write_through=True)


def lines_to_file(path: Path) -> logging.Handler:
    """Return a handler that writes messages as they are to a file of the same kind; raises `Misconfigured`."""
    try:
        return _PrivateFile(path, maxBytes=LONGEST, backupCount=1, encoding="utf-8")
    except OSError as fault:
        raise Misconfigured(f"the log {path} cannot be written: {fault.strerror}") from None


def log_to_file(path: Path, verbosity: str = "info") -> None:
    """Send all events of this process to `path` as JSON lines; at 10 MiB it starts anew and keeps one older file.

    Raises `Misconfigured` where the file cannot be written.
    """
    handler = lines_to_file(path)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(LEVELS[verbosity.lower()])
    logger.propagate = False

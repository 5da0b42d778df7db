"""The log of a process in a file of bounded size, readable by its owner only."""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path

from rolecall.edges.telemetry import LEVELS, ROOT, JsonLines
from rolecall.errors import Misconfigured

LONGEST = 10 * 1024 * 1024


def log_to_file(path: Path, verbosity: str = "info") -> None:
    """Send all events of this process to `path` as JSON lines; at 10 MiB it starts anew and keeps one older file.

    Raises `Misconfigured` where the file cannot be written.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        path.chmod(0o600)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=LONGEST, backupCount=1, encoding="utf-8")
    except OSError as fault:
        raise Misconfigured(f"the log {path} cannot be written: {fault.strerror}") from None
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(LEVELS[verbosity.lower()])
    logger.propagate = False

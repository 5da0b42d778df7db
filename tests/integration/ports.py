"""Ports for processes of tests that have to be told theirs."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port that is free now on every address.

    Not one that the system chooses: from 32768 on Linux gives them to connections as their own, of which many come
    and go here before a process has started.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port

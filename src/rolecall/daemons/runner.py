"""How a process lives: until a signal, until its parent is gone, or until a part of it fails."""

from __future__ import annotations

import asyncio
import os
import signal


def keep_files_private() -> None:
    """Make every file that this process creates readable by its owner only."""
    os.umask(0o077)


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set. Call it inside the running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def stop_with_parent(stop: asyncio.Event) -> None:
    """Set `stop` when stdin is closed: whoever started us has ended, however it ended."""

    def readable() -> None:
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            stop.set()

    os.set_blocking(0, False)
    asyncio.get_running_loop().add_reader(0, readable)

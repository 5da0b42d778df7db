"""How a process lives: until a signal, until its parent is gone, or until a part of it fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine


def keep_files_private() -> None:
    """Make every file that this process creates readable by its owner only."""
    os.umask(0o077)


_STOPS = (signal.SIGINT, signal.SIGTERM)


def stop_on_signals(*, second_ends: bool = False) -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set. Call it inside the running loop.

    With `second_ends` the kernel ends the process at the next one, however busy or stuck it is.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        if second_ends:
            for number in _STOPS:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)

    for number in _STOPS:
        loop.add_signal_handler(number, told)
    return stop


def on_hangup(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Begin that work at every SIGHUP, which would end the process otherwise. Call it inside the running loop."""
    loop, running = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def told() -> None:
        task = loop.create_task(work(), name="runner.hangup")
        running.add(task)
        task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGHUP, told)


def stop_with_parent(stop: asyncio.Event) -> None:
    """Set `stop` when stdin is closed: whoever started us has ended, however it ended."""

    def readable() -> None:
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            stop.set()

    os.set_blocking(0, False)
    asyncio.get_running_loop().add_reader(0, readable)

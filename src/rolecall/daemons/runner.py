"""How a process lives: until a signal, until its parent is gone, or until a part of it fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine

from rolecall.errors import RolecallError


def report(program: str, error: RolecallError) -> None:
    """Say on stderr why a program cannot run, and what to do about it."""
    sys.stderr.write(f"{program}: {error.message}\n" + (f"  {error.hint}\n" if error.hint else ""))


class Parts:
    """Work in the background, none of which ends by itself.

    One that does is a defect, and a process without it would be silent: `crashed` is told what it raised, `stop`, which
    may be set, is called, and `broken` says so.
    """

    def __init__(self, crashed: Callable[[str, Exception], None]) -> None:
        self._crashed = crashed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.stop: Callable[[], object] = lambda: None
        self.broken = False

    def keep(self, name: str, work: Awaitable[None]) -> None:
        """Have it done. Call it inside the running loop."""
        self._tasks[name] = asyncio.ensure_future(self._run(name, work))

    async def end(self, name: str) -> None:
        """End one of them, first of all."""
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """End them all."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on without this part
            self._crashed(name, error)
        self.broken = True
        self.stop()


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

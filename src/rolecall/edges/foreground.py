"""A program in our place at the terminal: its input, its signals, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from rolecall.errors import RolecallError

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# A terminal sends these to everybody in the foreground, so the program has them already.
_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


class CannotRun(RolecallError):
    """The program could not be started; `code` is what a shell answers: 127 not found, 126 not executable."""

    blame = "caller"

    def __init__(self, code: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


def find_program(name: str, search_path: str) -> str:
    """Return where a program is, as a shell finds it; raises `CannotRun`."""
    found = shutil.which(name, path=search_path)
    if found is not None:
        return found
    there = shutil.which(name, mode=os.F_OK, path=search_path)
    if there is not None:
        raise CannotRun(126, f"{there} is not executable", hint=f"make it so: chmod +x {there}")
    raise CannotRun(127, f"{name}: command not found")


async def run_in_foreground(
    program: str, command: Sequence[str], environment: Mapping[str, str], *, enter: Callable[[], None] | None = None
) -> int:
    """Run `program` with the words of `command` and exactly this environment; return its exit code.

    128 + n says that signal n ended it. Signals that reach us are passed on to it; Ctrl-C, which the terminal
    sends to both, is not sent twice. `enter` is called in the new process before it is the program. Raises `CannotRun`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, executable=program, env=dict(environment), preexec_fn=enter
        )
    except (OSError, subprocess.SubprocessError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "its process could not be prepared"
        raise CannotRun(126, f"{program} cannot be run: {why}") from None
    loop = asyncio.get_running_loop()
    for number in (*_PASSED_ON, *_OF_THE_TERMINAL):
        loop.add_signal_handler(number, _pass_on, process, number)
    try:
        code = await process.wait()
    finally:
        for number in (*_PASSED_ON, *_OF_THE_TERMINAL):
            loop.remove_signal_handler(number)
    return code if code >= 0 else 128 - code


def _pass_on(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if number in _OF_THE_TERMINAL and _in_foreground():
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _in_foreground() -> bool:
    """Say whether a terminal has us, and so the program as well, in its foreground."""
    try:
        with open("/dev/tty", "rb") as terminal:  # noqa: PTH123 - a device, not a path of ours
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False

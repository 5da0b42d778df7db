"""A child process that logs JSON lines, and that never outlives its parent: it ends when its stdin closes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from rolecall.edges.log_file import lines_to_file


class ChildProcess:
    """One child. Its log (stderr) goes to a file, and its last lines are remembered."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, log: Path) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=20)
        self._events: dict[str, dict[str, object]] = {}
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def first_event(self, name: str, field: str, *, timeout: float) -> str | None:
        """Start the child and return the first entry of a field of its event `name`; None if it never came."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
        )
        self._reader = asyncio.create_task(self._read(self._process), name="child.log")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while name not in self._events and not self._reader.done():
                    await self._changed.wait()
                    self._changed.clear()
        found = self._events.get(name, {}).get(field)
        return str(found[0]) if isinstance(found, list) and found else None

    def last_line(self) -> str:
        """Return the last thing the child said."""
        return self._lines[-1] if self._lines else "it said nothing"

    def last_words(self) -> str:
        """Return what the child said last that was no event of its log: why it could not go on, most likely."""
        words = [line for line in self._lines if not line.startswith("{")]
        return " ".join(words[-2:])

    @property
    def exit_code(self) -> int | None:
        """The exit code once the child has ended; negative for a signal."""
        return None if self._process is None else self._process.returncode

    async def wait(self) -> int:
        """Return the exit code once the child has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End the child: politely, and after a second for certain. It may be called at any time, and again."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
                try:
                    await asyncio.wait_for(self._process.wait(), 1.0)
                except TimeoutError:
                    self._process.kill()
                    await self._process.wait()
        if self._reader is not None:
            # A grandchild may hold the pipe open; its words are not waited for, and asyncio has no public way to
            # close a pipe that is read from.
            await asyncio.wait({self._reader}, timeout=1.0)
            self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
            await asyncio.wait({self._reader})

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        with contextlib.closing(lines_to_file(self._log)) as log:
            while not process.stderr.at_eof():
                try:
                    line = await process.stderr.readline()
                except ValueError:  # longer than the reader's buffer, and gone
                    line = b"(a line that is too long to show)\n"
                text = line.decode("utf-8", "replace").strip()
                log.handle(logging.makeLogRecord({"msg": text}))
                self._note(text)
        self._changed.set()

    def _note(self, text: str) -> None:
        if not text:
            return
        self._lines.append(text)
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(text)
            if isinstance(event, dict):
                self._events.setdefault(str(event.get("event")), event)
        self._changed.set()

"""What holds for every test: no captured log line shows a secret that was revealed.

While tests run, `Secret.reveal` and `reveal_bytes` note what they returned, and every log record of this process is
noted as a handler might write it: message, arguments, fields, traceback, and the line of
`rolecall.edges.telemetry.JsonLines`. Our own loggers begin each test unconfigured and write everything, debug events
included. After each test the two are compared, and the test fails where a line shows a secret. Secrets stay noted for
all tests of their file, since fixtures may reveal them for all.

Not looked at: what is printed (capsys, capfd), the logs of child processes, values shorter than 8 characters, and
secrets that no code of this process revealed.
"""

from __future__ import annotations

import functools
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pytest

from rolecall.core.secrets import Secret
from rolecall.edges.telemetry import ROOT, JsonLines

Text = TypeVar("Text", str, bytes)
SHORTEST = 8
# Of a longer secret, this much of its beginning or its end gives too much away.
LONG, HEAD, TAIL = 64, 48, 24


class LogWatch:
    """Notes what is revealed and what is logged, and compares the two."""

    def __init__(self) -> None:
        self.revealed: set[str] = set()
        self.lines: list[str] = []
        self.broken: list[str] = []
        self.file: Path | None = None
        self._formatter = JsonLines()

    def forget_other_files(self, file: Path) -> None:
        """Forget the secrets of the file before, when another one begins."""
        if file != self.file:
            self.revealed.clear()
            self.file = file

    def note(self, record: logging.LogRecord) -> None:
        """Note a record in every form in which a handler might write it."""
        try:
            self.lines += [self._formatter.format(record), record.getMessage()]
        except Exception as fault:
            self.broken.append(f"{record.name}: {record.msg!r} cannot be written: {fault!r}")
        self.lines += [f"{record.name} {record.msg} {record.args!r} {getattr(record, 'fields', '')}"]
        if record.exc_info and record.exc_info[1] is not None:
            self.lines.append("".join(traceback.format_exception(record.exc_info[1])))
        self.lines += [text for text in (record.exc_text, record.stack_info) if text]

    def faults(self) -> list[str]:
        """Return what is wrong with the lines so far, and forget them. The faults show no secret."""
        lines, broken = list(dict.fromkeys(self.lines)), self.broken
        self.lines, self.broken = [], []
        if not lines:
            return broken
        text = "\n".join(lines)
        shown = {spelling for secret in [*self.revealed] for spelling in spellings(secret) if spelling in text}
        leaks = []
        for line in lines:
            hidden = line
            for spelling in sorted(shown, key=len, reverse=True):
                hidden = hidden.replace(spelling, "[REVEALED SECRET]")
            if hidden != line:
                leaks.append(f"a log line shows a secret: {hidden[:1000]}")
        return broken + leaks


def spellings(secret: str) -> set[str]:
    """Return the texts that show a secret: as it is, escaped, or a good part of a long one."""
    found = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="", errors="replace")}
    if len(secret) >= LONG:
        found |= {secret[:HEAD], secret[-TAIL:]}
    return found


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch, before any test file is imported."""
    config.pluginmanager.register(_Plugin(), "rolecall-log-watch")


class _Plugin:
    """Puts the watch in place, and makes a test fail by it."""

    def __init__(self) -> None:
        self.watch = LogWatch()
        self.reveal, self.reveal_bytes = Secret.reveal, Secret.reveal_bytes
        self.handle = logging.Logger.handle
        Secret.reveal = self._noting(Secret.reveal)
        Secret.reveal_bytes = self._noting(Secret.reveal_bytes)
        logging.Logger.handle = self._watching(logging.Logger.handle)

    def _noting(self, reveal: Callable[[Secret], Text]) -> Callable[[Secret], Text]:
        @functools.wraps(reveal)
        def noting(secret: Secret) -> Text:
            value = reveal(secret)
            text = value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")
            if len(text) >= SHORTEST:
                self.watch.revealed.add(text)
            return value

        return noting

    def _watching(
        self, handle: Callable[[logging.Logger, logging.LogRecord], None]
    ) -> Callable[[logging.Logger, logging.LogRecord], None]:
        @functools.wraps(handle)
        def watching(logger: logging.Logger, record: logging.LogRecord) -> None:
            self.watch.note(record)
            handle(logger, record)

        return watching

    def pytest_unconfigure(self) -> None:
        """Put back what was there."""
        Secret.reveal, Secret.reveal_bytes = self.reveal, self.reveal_bytes
        logging.Logger.handle = self.handle

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        """Look at a test with our loggers at their most talkative."""
        self.watch.forget_other_files(item.path)
        logger = logging.getLogger(ROOT)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(logging.DEBUG)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Fail a test after its fixtures are gone: their lines count too."""
        result = yield
        faults = self.watch.faults()
        if faults:
            pytest.fail("\n".join(faults), pytrace=False)
        return result

"""What a process says about itself: log events, as JSON lines or as logfmt.

An event has a constant name such as ``agent.serving`` and fields; nothing is ever formatted into the
name. A `Secret` among the fields is shown as ``Secret(…)``, whatever else happens.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

ROOT = "rolecall"
_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_.-]")
_PLAIN = re.compile(r"[A-Za-z0-9_.,:;/+@%*()\[\]{}<>!?|~^&$#'-]+")

# The words of AWS's agent for --verbosity; the two above "error" silence everything below them.
LEVELS: Mapping[str, int] = {
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}


class Log:
    """Writes events, each with the fields that this log was bound to."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, name: str = ROOT, fields: Mapping[str, object] | None = None) -> None:
        self._logger = logging.getLogger(name)
        self._fields = dict(fields or {})

    def bind(self, **fields: object) -> Log:
        """Return a log that adds these fields to every event."""
        return Log(self._logger.name, {**self._fields, **fields})

    def enabled(self, level: int) -> bool:
        """Whether events of this level are written at all: ask before gathering fields on a hot path."""
        return self._logger.isEnabledFor(level)

    @property
    def informs(self) -> bool:
        """Whether events of normal life are written."""
        return self._logger.isEnabledFor(logging.INFO)

    def event(self, level: int, name: str, /, **fields: object) -> None:
        """Write one event."""
        if self._logger.isEnabledFor(level):
            self._logger.log(level, name, extra={"fields": {**self._fields, **fields}})

    def debug(self, name: str, /, **fields: object) -> None:
        """Write an event that matters when something is being looked into."""
        self.event(logging.DEBUG, name, **fields)

    def info(self, name: str, /, **fields: object) -> None:
        """Write an event of normal life."""
        self.event(logging.INFO, name, **fields)

    def warning(self, name: str, /, **fields: object) -> None:
        """Write an event that somebody should look at, though the work goes on."""
        self.event(logging.WARNING, name, **fields)

    def error(self, name: str, /, **fields: object) -> None:
        """Write an event about something that did not work."""
        self.event(logging.ERROR, name, **fields)

    def crash(self, name: str, error: BaseException, /, **fields: object) -> None:
        """Write a defect: the kind of the exception and where it was, never its message.

        The message of an unforeseen exception may quote what it choked on, a token for example.
        """
        where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        self.error(name, kind=type(error).__name__, where=where[-8:], **fields)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time, level, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        line, fields = _parts(record)
        try:
            return _json({**line, **fields})
        except (TypeError, ValueError, RecursionError):  # no field may cost an event its line
            return _json({**line, "fields": {str(name): str(value) for name, value in fields.items()}})


class Logfmt(logging.Formatter):
    """Formats a record as ``key=value`` pairs: time, level, event, then the fields.

    A text that is more than one plain word is a JSON string, and what is neither text nor number is JSON in one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        line, fields = _parts(record)
        return " ".join(f"{_key(name)}={_value(value)}" for name, value in (*line.items(), *fields.items()))


FORMATS: Mapping[str, type[logging.Formatter]] = {"json": JsonLines, "logfmt": Logfmt}


def _parts(record: logging.LogRecord) -> tuple[dict[str, object], dict[str, object]]:
    """Return what every line begins with, and the event's fields, none of which takes the place of those."""
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {
        "time": at.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": record.getMessage(),
    }
    return line, {name: value for name, value in getattr(record, "fields", {}).items() if name not in line}


def _json(line: object) -> str:
    return json.dumps(line, default=str, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _key(name: object) -> str:
    return _NOT_IN_A_KEY.sub("_", str(name)) or "_"


def _value(value: object) -> str:
    if not isinstance(value, str):
        try:
            value = _json(value) if isinstance(value, bool | int | float | list | tuple | dict | None) else str(value)
        except (TypeError, ValueError, RecursionError):
            value = str(value)
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=True)


def configure(stream: TextIO, verbosity: str = "info", form: str = "json") -> None:
    """Send all events of this process to `stream`, from that verbosity upwards, in that format.

    Raises `KeyError` for an unknown word; `LEVELS` and `FORMATS` have the known ones.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FORMATS[form]())
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(LEVELS[verbosity.lower()])
    logger.propagate = False

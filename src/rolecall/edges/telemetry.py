"""What a process says about itself: log events as JSON lines, and counters in Prometheus' text format.

An event has a constant name such as ``agent.serving`` and fields; nothing is ever formatted into the
name. A `Secret` among the fields is shown as ``Secret(…)``, whatever else happens.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

ROOT = "rolecall"

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
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", {})
        try:
            return _json({**line, **{name: value for name, value in fields.items() if name not in line}})
        except (TypeError, ValueError, RecursionError):  # no field may cost an event its line
            return _json({**line, "fields": {str(name): str(value) for name, value in fields.items()}})


def _json(line: Mapping[str, object]) -> str:
    return json.dumps(line, default=str, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def configure(stream: TextIO, verbosity: str = "info") -> None:
    """Send all events of this process to `stream` as JSON lines, from that verbosity upwards.

    Raises `KeyError` for an unknown word; `LEVELS` has the known ones.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(LEVELS[verbosity.lower()])
    logger.propagate = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family: samples are (labels, value) pairs. `kind` is ``counter`` or ``gauge``."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]] = field(default=())


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(metrics: Iterable[Metric]) -> bytes:
    """Return the families in Prometheus' text exposition format 0.0.4."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for labels, value in metric.samples:
            shown = ",".join(f'{key}="{_quote(text)}"' for key, text in labels.items())
            lines.append(f"{metric.name}{{{shown}}} {value}" if shown else f"{metric.name} {value}")
    return ("\n".join(lines) + "\n").encode()


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quote(text: str) -> str:
    return _escape(text).replace('"', '\\"')

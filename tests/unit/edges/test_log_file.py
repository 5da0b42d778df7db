"""The log file: private, bounded, and never somebody else's file."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolecall.edges import log_file
from rolecall.edges.log_file import log_to_file
from rolecall.edges.telemetry import ROOT, Log
from rolecall.errors import Misconfigured


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """Our logger under the most permissive umask; its files are closed after."""
    before = os.umask(0)
    found = logging.getLogger(ROOT)
    yield found
    os.umask(before)
    for handler in found.handlers:
        handler.close()
    found.handlers.clear()


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_events_are_json_lines_in_a_private_file(tmp_path: Path) -> None:
    """Appended to what is there, whatever the permissions were; below the verbosity nothing."""
    path = tmp_path / "plane.log"
    path.write_text("earlier\n")
    path.chmod(0o666)
    log_to_file(path, "warn")
    Log().info("quiet")
    Log().warning("loud", café="☕")
    first, second = path.read_text().splitlines()
    assert first == "earlier"
    event = json.loads(second)
    assert (event["event"], event["level"], event["café"]) == ("loud", "warning", "☕")
    assert mode(path) == 0o600


def test_it_starts_anew_and_keeps_one_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded however long it runs, no line torn or lost between the two; both are private."""
    monkeypatch.setattr(log_file, "LONGEST", 2000)
    path = tmp_path / "plane.log"
    log_to_file(path)
    for number in range(100):
        Log().info("event", number=number)
    older = tmp_path / "plane.log.1"
    assert {found.name for found in tmp_path.iterdir()} == {"plane.log", "plane.log.1"}
    numbers = [json.loads(line)["number"] for line in (older.read_text() + path.read_text()).splitlines()]
    assert numbers == list(range(numbers[0], 100))
    assert path.stat().st_size <= 2000
    assert older.stat().st_size <= 2000
    assert (mode(path), mode(older)) == (0o600, 0o600)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever could place one there would have us write into a file of their choice."""
    target = tmp_path / "target"
    target.write_text("precious")
    target.chmod(0o644)
    (tmp_path / "plane.log").symlink_to(target)
    with pytest.raises(Misconfigured, match=r"plane\.log cannot be written"):
        log_to_file(tmp_path / "plane.log")
    assert target.read_text() == "precious"
    assert mode(target) == 0o644


def test_a_file_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A directory in its place, or none above it."""
    (tmp_path / "plane.log").mkdir()
    for path in (tmp_path / "plane.log", tmp_path / "none" / "plane.log"):
        with pytest.raises(Misconfigured, match="cannot be written"):
            log_to_file(path)

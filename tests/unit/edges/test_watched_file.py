"""A file that others replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolecall.edges.watched_file import WatchedFile
from rolecall.errors import Misconfigured


def test_it_is_another_one_when_it_is_written_replaced_permitted_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = WatchedFile(path)
    assert file.changed(), "at the first look, there or not"
    assert not file.changed()
    path.write_text("one")
    assert file.changed()
    (tmp_path / "next").write_text("two")
    (tmp_path / "next").rename(path)
    assert file.changed()
    path.chmod(0o640)  # what could not be read before may be readable now
    assert file.changed()
    assert not file.changed()
    path.unlink()
    assert file.changed()
    assert file.read() is None


def test_one_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert WatchedFile(path, longest=5).read() == b"12345"
    with pytest.raises(Misconfigured, match="larger than 4 bytes"):
        WatchedFile(path, longest=4).read()

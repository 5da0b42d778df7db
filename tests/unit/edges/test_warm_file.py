"""A file in memory: whose it must be, where it must be, and what is left of it when its writer is killed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rolecall.edges import warm_file
from rolecall.edges.warm_file import Unusable, WarmFile
from rolecall.errors import Misconfigured


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """Say of the file system of this test's directory that it is memory (proc(5), /proc/PID/mountinfo)."""
    device = tmp_path.stat().st_dev
    file = tmp_path / "mountinfo"
    file.write_text(
        "22 1 0:21 / /proc rw - proc proc rw\n"
        f"36 35 {os.major(device)}:{os.minor(device)} / /run rw,nosuid master:1 - tmpfs tmpfs rw,size=65536k\n"
    )
    return file


@pytest.fixture
def file(tmp_path: Path, mounts: Path) -> WarmFile:
    """Return a file that is not there yet, in a directory that is not there yet."""
    return WarmFile(tmp_path / "agent" / "warm", mounts=mounts)


def test_what_is_written_is_read_again_and_is_private(file: WarmFile) -> None:
    """Also what replaces it; the directory is made, and nobody else may look into either."""
    assert file.read() is None
    file.write([b"one ", b"two"])
    assert file.read() == b"one two"
    file.write([b"three"])
    assert file.read() == b"three"
    assert (file.path.parent.stat().st_mode & 0o777, file.path.stat().st_mode & 0o777) == (0o700, 0o600)
    file.remove()
    assert list(file.path.parent.iterdir()) == []


def test_a_writer_that_fails_or_is_killed_costs_the_newest_state_only(file: WarmFile) -> None:
    """What was whole before stays; what is half written has another name, and goes at the next writing."""
    file.write([b"old"])

    def parts():
        yield b"new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        file.write(parts())
    assert [one.name for one in file.path.parent.iterdir()] == ["warm"]
    (file.path.parent / ".warm.half").write_bytes(b"of one that was killed")
    assert file.read() == b"old"
    file.write([b"new"])
    assert [one.name for one in file.path.parent.iterdir()] == ["warm"]


def test_it_is_bounded(file: WarmFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither written nor read past its bound."""
    file.write([b"old"])
    monkeypatch.setattr(warm_file, "LONGEST", 2)
    with pytest.raises(Unusable, match="longer than"):
        file.write([b"ab", b"c"])
    with pytest.raises(Unusable, match="longer than"):
        file.read()


def test_a_disk_is_refused(tmp_path: Path, mounts: Path) -> None:
    """Secrets are not written on one: not on ext4, and not where nobody knows."""
    mounts.write_text(mounts.read_text().replace("- tmpfs", "- ext4"))
    with pytest.raises(Misconfigured, match="is on ext4, not tmpfs"):
        WarmFile(tmp_path / "agent" / "warm", mounts=mounts)
    mounts.write_text("")
    with pytest.raises(Misconfigured, match="an unknown file system"):
        WarmFile(tmp_path / "agent" / "warm", mounts=mounts)


def test_a_directory_that_is_open_is_refused(tmp_path: Path, mounts: Path) -> None:
    """Whoever may write into it could put a file of his own there."""
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(Misconfigured, match="open to other users"):
        WarmFile(tmp_path / "open" / "warm", mounts=mounts)


def test_a_file_that_is_replaced_while_it_is_read_is_read(
    tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened is whole, though a newer one has its name by then."""
    file = WarmFile(tmp_path / "warm", mounts=mounts)
    file.write([b"older"])
    fstat = os.fstat

    def replaced(handle: int) -> os.stat_result:
        if stat.S_ISREG(fstat(handle).st_mode) and file.path.read_bytes() == b"older":
            monkeypatch.setattr(os, "fstat", fstat)
            file.write([b"newer"])
        return fstat(handle)

    monkeypatch.setattr(os, "fstat", replaced)
    assert file.read() == b"older"
    assert file.read() == b"newer"


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path, mounts: Path) -> None:
    """It may lead anywhere, and later to another place."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Misconfigured, match="link"):
        WarmFile(tmp_path / "link" / "warm", mounts=mounts)


def test_another_users_directory_is_refused(file: WarmFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at before every use: it may have been replaced."""
    monkeypatch.setattr(os, "geteuid", lambda: file.path.parent.stat().st_uid + 1)
    with pytest.raises(Misconfigured, match="another user"):
        file.read()


def test_a_file_that_others_may_have_written_is_not_believed(file: WarmFile, tmp_path: Path) -> None:
    """Nor is a link followed, or a pipe waited for."""
    file.write([b"old"])
    file.path.chmod(0o640)
    with pytest.raises(Unusable, match="others may have written it"):
        file.read()
    file.path.chmod(0o600)
    os.link(file.path, tmp_path / "second-name")
    with pytest.raises(Unusable, match="others may have written it"):
        file.read()
    file.path.unlink()
    file.path.symlink_to(tmp_path / "second-name")
    with pytest.raises(OSError, match="symbolic links"):
        file.read()
    file.path.unlink()
    os.mkfifo(file.path, 0o600)
    with pytest.raises(Unusable, match="no file"):
        file.read()
    file.remove()
    assert file.read() is None

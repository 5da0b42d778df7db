"""The state directory: private, ours, one process's; nothing half-written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rolecall.edges.state_dir import Running, StateDir, choose_state_dir, write_private
from rolecall.errors import Misconfigured, StateTaken

RUNNING = Running(
    1234, "http://127.0.0.1:4500", "http://127.0.0.1:4501", "http://127.0.0.1:4502", "us-west-2", "123456789012", "0.1"
)


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> object:
    """Let new files be open to everybody, unless somebody takes care."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_what_is_made_is_private(tmp_path: Path) -> None:
    """0700 for directories and 0600 for files, whatever the umask."""
    state = StateDir(tmp_path / "deep" / "state")
    state.prepare()
    write_private(state.credentials, b"key")
    with state.held():
        assert {mode(state.root), mode(state.runs)} == {0o700}
        assert {mode(state.credentials), mode(state.root / "lock")} == {0o600}


def test_a_directory_of_ours_that_is_open_is_shut_where_that_harms_nobody(tmp_path: Path) -> None:
    """An empty one, as mkdir makes it, or one that has been a state directory before."""
    state = StateDir(tmp_path / "state")
    state.root.mkdir()
    for _ in range(2):
        state.root.chmod(0o755)
        state.prepare()
        assert mode(state.root) == 0o700
        with state.held():
            pass


def test_a_directory_that_others_use_is_not_shut(tmp_path: Path) -> None:
    """``--state-dir /tmp``, or a home: refused, and left as it was."""
    root = tmp_path / "shared"
    root.mkdir()
    (root / "theirs").touch()
    root.chmod(0o1777)
    with pytest.raises(Misconfigured, match="open to others") as caught:
        StateDir(root).prepare()
    assert "--state-dir" in caught.value.hint
    assert mode(root) == 0o1777
    assert [path.name for path in root.iterdir()] == ["theirs"]


@pytest.mark.parametrize("follow", [True, False], ids=["the directory", "a link to it"])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: bool) -> None:
    """Also a link that somebody else laid in a shared directory, to a directory of ours."""
    real, root = tmp_path / "real", tmp_path / "state"
    real.mkdir(mode=0o700)
    root.symlink_to(real)
    if os.getuid() == 0:
        os.chown(root, 65_534, 65_534, follow_symlinks=follow)
    else:  # we may give nothing away, so we are somebody else
        monkeypatch.setattr(os, "getuid", lambda: 65_534)
    with pytest.raises(Misconfigured, match="belongs to user"):
        StateDir(root).prepare()
    assert list(real.iterdir()) == []


def test_a_link_of_ones_own_is_followed(tmp_path: Path) -> None:
    """Whoever keeps the state on another disk may."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(tmp_path / "real")
    StateDir(tmp_path / "state").prepare()
    assert (tmp_path / "real" / "run").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below", "dangling"])
def test_what_is_no_directory_is_refused(tmp_path: Path, name: str) -> None:
    """With the flag to change, not with a traceback."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Misconfigured, match="cannot be used") as caught:
        StateDir(tmp_path / name).prepare()
    assert "--state-dir" in caught.value.hint


def test_one_process_owns_the_directory(tmp_path: Path) -> None:
    """The second one is told who does; the lock that a killed process left behind is taken over."""
    state, other = StateDir(tmp_path), StateDir(tmp_path)
    (tmp_path / "lock").write_text("99999999\n")
    assert not state.is_held()
    with state.held():
        assert other.is_held()
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(StateTaken, match=f"pid {os.getpid()}") as caught, other.held():
            pass
        assert f"kill {os.getpid()}" in caught.value.hint
        assert other.is_held(), "the attempt changed nothing"
    assert not other.is_held()
    with other.held():
        pass


def test_looking_whether_it_is_held_takes_nothing_from_a_start(tmp_path: Path) -> None:
    """Commands that wait for the plane look again and again; a start between two looks must not fail of it."""
    import fcntl

    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open("r+b") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        calls = []
        real = fcntl.flock

        def flock(handle: int, operation: int) -> None:
            calls.append(operation)
            if len(calls) == 3:
                real(look, fcntl.LOCK_UN)  # the look is over
            real(handle, operation)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", flock)
            with StateDir(tmp_path).held():
                assert StateDir(tmp_path).is_held()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """It would truncate whatever it points to."""
    (tmp_path / "precious").write_text("words")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(Misconfigured, match="cannot be locked"), StateDir(tmp_path).held():
        pass
    assert (tmp_path / "precious").read_text() == "words"
    assert not StateDir(tmp_path).is_held()


def test_where_a_running_plane_is_found(tmp_path: Path) -> None:
    """Only while it runs: what a killed one announced is not believed."""
    state = StateDir(tmp_path)
    assert state.running() is None
    with state.held():
        assert state.running() is None, "it is starting"
        state.announce(RUNNING)
        assert state.running() == RUNNING
        (tmp_path / "plane.json").write_text('{"pid": 1}')
        assert state.running() is None, "another version's"
        state.announce(RUNNING)
    assert state.running() is None, "it was killed"
    state.withdraw()
    state.withdraw()
    assert not (tmp_path / "plane.json").exists()


@pytest.mark.usefixtures("open_umask")
def test_writing_is_atomic_and_private(tmp_path: Path) -> None:
    """A reader has the old or the new file, whole; a link is replaced, not written through."""
    path = tmp_path / "credentials"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with path.open("rb") as reader:
        write_private(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert mode(path) == 0o600
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "link"
    elsewhere.write_bytes(b"words")
    link.symlink_to(elsewhere)
    write_private(link, b"new")
    assert (elsewhere.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"words", b"new", False)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["credentials", "elsewhere", "link"]


def test_a_draft_that_was_left_or_laid_there_is_not_written_through(tmp_path: Path) -> None:
    """A killed process may leave one; a draft that is a link must not lead elsewhere."""
    precious, path = tmp_path / "precious", tmp_path / "env"
    precious.write_bytes(b"words")
    (tmp_path / f".env.{os.getpid()}").symlink_to(precious)
    write_private(path, b"new")
    assert (precious.read_bytes(), path.read_bytes()) == (b"words", b"new")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither a draft nor half a file."""
    path = tmp_path / "name"
    path.mkdir()
    with pytest.raises(OSError):
        write_private(path, b"new")
    assert [found.name for found in tmp_path.iterdir()] == ["name"]


@pytest.mark.parametrize(
    ("flag", "environment", "expected"),
    [
        pytest.param("/a", {"ROLECALL_STATE_DIR": "/b", "HOME": "/h"}, "/a", id="flag"),
        pytest.param(None, {"ROLECALL_STATE_DIR": "/b", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/b", id="variable"),
        pytest.param(None, {"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/rolecall", id="XDG"),
        # "All paths must be absolute. If … a relative path … consider the path invalid and ignore it."
        pytest.param(None, {"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/rolecall", id="relative XDG"),
        pytest.param(None, {"ROLECALL_STATE_DIR": "", "HOME": "/h"}, "/h/.local/state/rolecall", id="home"),
    ],
)
def test_which_directory(flag: str | None, environment: dict[str, str], expected: str) -> None:
    """Flag, variable, XDG Base Directory specification, in this order."""
    assert choose_state_dir(flag, environment) == Path(expected)


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_a_home_it_must_be_named(environment: dict[str, str]) -> None:
    """Never a directory relative to wherever we happen to run."""
    with pytest.raises(Misconfigured):
        choose_state_dir(None, environment)

"""The directory of one run: private, gone with its run, and swept only where its run is dead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rolecall.edges.run_dir import run_dir, sweep
from rolecall.edges.state_dir import StateDir
from rolecall.errors import Misconfigured


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """A prepared state directory."""
    made = StateDir(tmp_path / "state")
    made.prepare()
    return made


def runs(state: StateDir) -> set[Path]:
    """Return what lies in ``run/``, without its lock."""
    return {path for path in state.runs.iterdir() if path.name != "lock"}


def test_it_is_private_and_goes_with_its_run(state: StateDir) -> None:
    """0700 and 0600 whatever the umask is; it goes also where the run ends by an error."""

    def look() -> None:
        with run_dir(state) as files:
            assert files.write("token", b"abc").read_bytes() == b"abc"
            assert stat.S_IMODE(files.path.stat().st_mode) == 0o700
            assert {stat.S_IMODE(path.stat().st_mode) for path in files.path.iterdir()} == {0o600}
            raise KeyError

    before = os.umask(0)
    try:
        with pytest.raises(KeyError):
            look()
    finally:
        os.umask(before)
    assert runs(state) == set()


def test_a_file_is_replaced_in_one_step(state: StateDir) -> None:
    """Whoever has the old token open reads the old one to its end; no draft is left."""
    with run_dir(state) as files, files.write("token", b"old-token").open("rb") as opened:
        assert opened.read(3) == b"old"
        files.write("token", b"new")
        assert opened.read() == b"-token"
        assert {path.name for path in files.path.iterdir()} == {"lock", "token"}
        assert (files.path / "token").read_bytes() == b"new"


def test_what_cannot_be_written_is_named(state: StateDir) -> None:
    """A directory that somebody removed, and one in which a file stands: a sentence, not a trace."""
    with run_dir(state) as files:
        (files.path / "lock").unlink()
        files.path.rmdir()
        with pytest.raises(Misconfigured, match="token cannot be written: No such file"):
            files.write("token", b"x")
    (state.runs / "lock").unlink()
    state.runs.rmdir()
    state.runs.write_text("")
    with pytest.raises(Misconfigured, match="run cannot be written"), run_dir(state):
        pass


OTHER = """
import sys
from pathlib import Path
from rolecall.edges.run_dir import run_dir
from rolecall.edges.state_dir import StateDir
with run_dir(StateDir(Path(sys.argv[1]))) as files:
    files.write("token", b"x")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_only_the_dead_are_swept(state: StateDir) -> None:
    """A run of another process stays while it lives, through every sweep; killed, it goes with the next."""
    command = [sys.executable, "-c", OTHER, str(state.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        (alive,) = runs(state)
        sweep(state)
        with run_dir(state) as mine:
            assert runs(state) == {alive, mine.path}
            assert (alive / "token").exists()
            other.kill()
            other.wait()
            sweep(state)
            assert runs(state) == {mine.path}


def test_a_run_that_was_killed_before_it_had_its_lock_is_swept(state: StateDir) -> None:
    """Such a directory is empty; it must not lie there for ever."""
    (state.runs / ("0" * 12)).mkdir()
    sweep(state)
    assert runs(state) == set()


def test_what_no_run_made_is_left_alone(state: StateDir, tmp_path: Path) -> None:
    """Files, other directories, and symbolic links: also one that is called like a run and leads elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (state.runs / ("a" * 12)).symlink_to(elsewhere)
    (state.runs / "notes.txt").write_text("x")
    (state.runs / "backup").mkdir()
    (state.runs / "backup" / "precious").write_text("x")
    inside = state.runs / ("b" * 12)
    inside.mkdir()
    (inside / "link").symlink_to(elsewhere)
    sweep(state)
    assert {path.name for path in runs(state)} == {"a" * 12, "notes.txt", "backup"}
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]
    assert (state.runs / "backup" / "precious").exists()


def test_a_lock_that_is_a_link_is_not_followed(state: StateDir, tmp_path: Path) -> None:
    """The directory is not ours to judge then, and nothing is made where the link leads."""
    trap = state.runs / ("c" * 12)
    trap.mkdir()
    (trap / "lock").symlink_to(tmp_path / "made")
    sweep(state)
    assert not (tmp_path / "made").exists()
    assert trap.exists()


def test_creation_and_sweep_race(state: StateDir) -> None:
    """Many begin and end at once, each sweeping the others: none loses its files, none is left behind."""
    lost: list[str] = []

    def live() -> None:
        for number in range(15):
            with run_dir(state) as files:
                files.write("token", str(number).encode())
                sweep(state)
                if (files.path / "token").read_bytes() != str(number).encode():
                    lost.append(str(files.path))

    threads = [threading.Thread(target=live) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert runs(state) == set()

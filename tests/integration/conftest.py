"""Planes for the integration tests: one that all share, and new ones for what changes or breaks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.dev_plane import SETUP, DevPlane


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevPlane]:
    """A plane on which the story is set up: cluster, roles, association, annotation. Nobody changes those."""
    yield from _set_up(_plane(tmp_path_factory.mktemp("stage")))


@pytest.fixture(scope="session")
def short_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevPlane]:
    """The same on a plane whose sessions end after 6 s and whose tokens end after 5 s."""
    flags = ("--max-session-seconds", "6", "--max-token-seconds", "5")
    yield from _set_up(_plane(tmp_path_factory.mktemp("short"), flags=flags))


def _set_up(plane: DevPlane) -> Iterator[DevPlane]:
    plane.start()
    done = plane.shell(str(SETUP), "all", timeout=120)  # it starts the AWS CLI a dozen times
    assert done.returncode == 0, done.stderr
    yield plane
    assert plane.stop() == 0


@pytest.fixture
def new_plane(tmp_path: Path) -> Iterator[Callable[..., DevPlane]]:
    """Make planes with flags of their own; each has the test's state directory, or another name in it."""
    made: list[DevPlane] = []

    def make(*flags: str, name: str = "state") -> DevPlane:
        made.append(_plane(tmp_path, name, flags))
        return made[-1]

    yield make
    for plane in made:
        if hasattr(plane, "process"):
            plane.stop()


def _plane(directory: Path, name: str = "state", flags: tuple[str, ...] = ()) -> DevPlane:
    home = directory / "home"
    home.mkdir(exist_ok=True)
    return DevPlane(directory / name, home, flags)

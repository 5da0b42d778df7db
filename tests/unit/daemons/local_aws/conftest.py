"""A plane of its own for every test: started on an empty state directory, in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plane_in_process import Plane


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A plane that was just started."""
    with Plane.open(tmp_path) as started:
        yield started

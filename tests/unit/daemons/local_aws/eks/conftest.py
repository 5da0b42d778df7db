"""A plane that refusals share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plane_in_process import Plane
from unit.daemons.local_aws.apiserver.laptop import Laptop


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A cluster and the role one, for calls that must write nothing: at the end nothing may have changed."""
    with Plane.open(tmp_path_factory.mktemp("refusing")) as plane:
        laptop = Laptop(plane)
        laptop.role("one")
        before = plane.tables()
        yield laptop
        assert plane.tables() == before

"""One Docker engine for all tests of this folder, in a namespace with the address of EC2's metadata service."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from docker.engine import Engine, lacking
from sdks.namespace import IMDS, new_namespace


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that all tests share; skip where there can be none, or fail where that must not happen."""
    why = lacking()
    if why and os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(why, pytrace=False)
    if why:
        pytest.skip(why)
    with new_namespace() as namespace:
        subprocess.run(["ip", "-n", namespace.name, "addr", "add", f"{IMDS}/32", "dev", "lo"], check=True)
        engine = Engine(namespace, tmp_path_factory.mktemp("docker"))
        try:
            yield engine.start()
        finally:
            engine.stop()

"""One control plane for all tests of this folder, and what it said where one of them failed.

What is built first is built before any test begins, with its progress on the terminal and no test's time running.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.binaries import Missing, find
from cluster.control_plane import ControlPlane

HERE = Path(__file__).parent
_FOUND = pytest.StashKey[Path | Missing]()
_RUNNING = pytest.StashKey[ControlPlane]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build the programs, where tests that need them are about to run."""
    config = session.config
    if config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    reporter = config.pluginmanager.getplugin("terminalreporter")

    def say(sentence: str) -> None:
        reporter.write_line(f"control plane: {sentence}")
        reporter.flush()

    try:
        config.stash[_FOUND] = find(os.environ, say)
    except Missing as missing:
        config.stash[_FOUND] = missing


@pytest.fixture(scope="session")
def assets(pytestconfig: pytest.Config) -> Path:
    """The directory of etcd, kube-apiserver and kubectl; skip without, or fail where that must not happen."""
    found = pytestconfig.stash[_FOUND]
    if isinstance(found, Path):
        return found
    if found.wrong or os.environ.get("CI"):
        pytest.fail(str(found), pytrace=False)
    pytest.skip(str(found))


@pytest.fixture(scope="session")
def control_plane(
    assets: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[ControlPlane]:
    """A control plane that all tests share: each makes namespaces of its own."""
    plane = ControlPlane(assets, tmp_path_factory.mktemp("control-plane"))
    try:
        pytestconfig.stash[_RUNNING] = plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A new namespace, with its default service account."""
    return control_plane.namespace()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failure what the API server said last."""
    report = yield
    plane = item.config.stash.get(_RUNNING, None)
    if report.failed and plane is not None:
        report.sections.append(("kube-apiserver's log, its last lines", plane.log()))
        report.sections.append(("kube-apiserver's audit log", str(plane.audit_log)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which programs these were, and how soon they served."""
    plane = config.stash.get(_RUNNING, None)
    if plane is not None:
        terminalreporter.write_line(f"control plane: {plane.version}, ready after {plane.ready_after:.1f} s")

"""The demo is run as it stands: its own steps compare what they see with what is expected."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from integration.dev_plane import ROOT, plain_environment

DEMO = ROOT / "examples" / "evolution" / "demo.sh"


@pytest.mark.timeout(180)
def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 0, at most 20 calls of the AWS CLI, no process and no file left, whatever AWS_* its caller has."""
    calls = tmp_path / "calls"
    counting = tmp_path / "bin"
    counting.mkdir()
    (counting / "aws").write_text(f'#!/bin/sh\necho >>"{calls}"\nexec "{ROOT}/.venv/bin/aws" "$@"\n')
    (counting / "aws").chmod(0o755)
    (tmp_path / "tmp").mkdir()
    environment = plain_environment(tmp_path) | {
        "TMPDIR": str(tmp_path / "tmp"),
        "AWS_PROFILE": "nobody",
        "AWS_ROLE_ARN": "x",
    }
    environment["PATH"] = f"{counting}:{environment['PATH']}"
    done = subprocess.run([DEMO], env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All as expected" in done.stdout
    assert "✗" not in done.stdout
    assert len(calls.read_text().splitlines()) <= 20
    assert not list((tmp_path / "tmp").iterdir())


def test_a_step_that_differs_is_an_error(tmp_path: Path) -> None:
    """The demo's own guard can fail: a wrong exit code and a wrong answer are both seen."""
    changed = DEMO.read_text().partition("# ---- the stage ----")[0] + (
        'step 0 "^hello$" echo hello\nstep 3 "" sh -c "exit 4"\nstep 0 "^good$" echo bad\nexit $failures\n'
    )
    (tmp_path / "demo.sh").write_text(changed)
    done = subprocess.run(
        ["bash", tmp_path / "demo.sh"], env=plain_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "exit code 4, expected 3" in done.stdout
    assert "expected: ^good$" in done.stdout

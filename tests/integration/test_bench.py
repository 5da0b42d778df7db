"""The benchmarks run: a short round of each, so that they do not rot. What they measure is not judged here."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from integration.dev_plane import ROOT

has_tools = all(shutil.which(tool, path="/usr/bin:/usr/sbin:/bin:/sbin") for tool in ("nginx", "wrk", "taskset"))


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m bench``."""
    command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "bench", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.timeout(120)
def test_rules() -> None:
    """Policies, tokens and signatures."""
    done = bench("rules", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "policy evaluation" in done.stdout


@pytest.mark.timeout(120)
@pytest.mark.skipif(not has_tools, reason="needs nginx, wrk and taskset")
def test_door() -> None:
    """The agent's door beside nginx: no errors under load."""
    done = bench("door", "--rounds", "1", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    assert "keep-alive, 2,000 tokens" in done.stdout


@pytest.mark.timeout(120)
@pytest.mark.skipif(not has_tools, reason="needs wrk and taskset")
def test_imds() -> None:
    """The metadata door beside Pod Identity's: no errors under load, one call for a herd."""
    done = bench("imds", "--rounds", "1", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    assert "Herd of 50 at the metadata door, STS slow: 1 call to STS, status [200]." in done.stdout


@pytest.mark.timeout(120)
@pytest.mark.skipif(not has_tools, reason="needs wrk and taskset")
def test_cold() -> None:
    """Herds, node starts, neighbours, memory, start."""
    done = bench("cold", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "| herd of 50, upstream denied | 1 upstream calls" in done.stdout


@pytest.mark.skipif(not has_tools, reason="needs wrk and taskset")
def test_webhook() -> None:
    """A trial of it: a round of all takes long, for it starts with many service accounts."""
    command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "bench.webhook"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "whatever is answered: no role |" in done.stdout
    assert "\n0 of wrk's " in done.stdout


def test_an_unknown_name_is_refused() -> None:
    """With the names that there are."""
    done = bench("nothing")
    assert done.returncode == 1
    assert "door" in done.stderr

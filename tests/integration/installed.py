"""Clients in other languages, installed from their lock files once, into the checkout's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.dev_plane import ROOT

CACHE = ROOT / ".cache" / "clients"
CLIENTS = ROOT / "tests" / "integration" / "clients"


def go_program() -> Path:
    """Return the built EKS Auth client of the Go SDK; skip, saying why, where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs a Go toolchain")
    source = CLIENTS / "go"
    with made_once("go", *sorted(source.iterdir())) as target:
        if not (target / "eksauth").exists():
            run([go, "build", "-mod=readonly", "-o", str(target / "eksauth"), "."], source)
    return target / "eksauth"


def js_directory() -> Path:
    """Return a directory with the JavaScript client installed; skip, saying why, where there is no node."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    source = CLIENTS / "js"
    with made_once("js", *sorted(path for path in source.iterdir() if path.is_file())) as target:
        if not (target / "node_modules" / ".package-lock.json").exists():
            for path in source.iterdir():
                shutil.copy(path, target)
            run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], target)
    return target


@contextmanager
def made_once(name: str, *made_of: Path) -> Iterator[Path]:
    """Hold the directory for what is made of these files: two test runs that meet wait for one another."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_of)).hexdigest()[:16]
    target = CACHE / f"{name}-{digest}"
    target.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield target


def run(command: list[str], where: Path) -> None:
    """Run a build's command; it must succeed."""
    done = subprocess.run(command, cwd=where, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

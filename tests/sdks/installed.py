"""The SDKs, each built or installed once from its lock file into the checkout's cache. What a toolchain is missing
for is skipped, saying so."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.dev_plane import ROOT
from integration.installed import CACHE, made_once, run

CLIENTS = ROOT / "tests" / "sdks" / "clients"


def needed(program: str, what: str) -> str:
    """Return where a program is; skip without it."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {what}")
    return found


def javascript(script: str) -> Callable[[], list[str]]:
    """Return what gives the command of one of the JavaScript clients."""

    def command() -> list[str]:
        node, npm, source = needed("node", "node"), needed("npm", "npm"), CLIENTS / "js"
        with made_once("sdks-js", source / "package-lock.json") as target:
            if not (target / "node_modules" / ".package-lock.json").exists():
                for name in ("package.json", "package-lock.json"):
                    shutil.copy(source / name, target)
                run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], target)
        shutil.copy(source / script, target)  # a module is looked for beside the script
        return [node, str(target / script)]

    return command


def go() -> list[str]:
    """Return the command of the Go client."""
    compiler, source = needed("go", "a Go toolchain"), CLIENTS / "go"
    with made_once("sdks-go", *sorted(source.iterdir())) as target:
        if not (target / "credentials").exists():
            run([compiler, "build", "-mod=readonly", "-o", str(target / "credentials"), "."], source)
    return [str(target / "credentials")]


def rust() -> list[str]:
    """Return the command of the Rust client."""
    cargo, source = needed("cargo", "a Rust toolchain"), CLIENTS / "rust"
    with made_once("sdks-rust", source / "Cargo.toml", source / "Cargo.lock", source / "src" / "main.rs") as target:
        if not (target / "credentials").exists():
            run([cargo, "build", "--locked", "--quiet", "--target-dir", str(CACHE / "cargo")], source)
            shutil.copy(CACHE / "cargo" / "debug" / "credentials", target)
    return [str(target / "credentials")]


def java() -> list[str]:
    """Return the command of the Java client."""
    maven, machine, source = needed("mvn", "Maven"), needed("java", "a Java runtime"), CLIENTS / "java"
    needed("javac", "a Java compiler")
    main = source / "src" / "main" / "java" / "Credentials.java"
    with made_once("sdks-java", source / "pom.xml", main) as target:
        if not (target / "made").exists():
            goals = ["compile", "dependency:copy-dependencies", "-DincludeScope=runtime"]
            shutil.copytree(source, target, dirs_exist_ok=True)
            run([maven, "-B", "-q", f"-Dmaven.repo.local={CACHE / 'maven'}", *goals], target)
            (target / "made").touch()
    # The tests wait for the machine to start, not for it to become quick.
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    classes = target / "target" / "classes"
    return [machine, *quick, "-cp", f"{classes}:{target / 'target' / 'dependency'}/*", "Credentials"]


def python(script: str, lock: str | None = None) -> Callable[[], list[str]]:
    """Return what gives the command of one of the Python clients, in an environment of its own if it has a lock."""

    def command() -> list[str]:
        client = str(CLIENTS / "python" / script)
        if lock is None:
            return [sys.executable, client]
        locked = CLIENTS / "python" / lock
        with made_once(f"sdks-python-{locked.stem}", locked) as target:
            interpreter = target / "bin" / "python"
            if not (target / "made").exists():
                uv = str(Path(sys.executable).parent / "uv")
                run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(target)], target.parent)
                run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(interpreter), str(locked)], ROOT)
                (target / "made").touch()
        return [str(interpreter), client]

    return command

"""The source tree as the tests of the house read it: parsed modules, resolved names, findings.

A checker is a function from modules to findings. The tests run it on ``src`` and once on a tree with a
planted violation: a guard that has never caught anything guards nothing.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Module:
    """One parsed file; `path` is relative to the source directory, such as ``rolecall/core/names.py``."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def package(self) -> str:
        return self.path.rpartition("/")[0].replace("/", ".")

    @cached_property
    def imports(self) -> list[tuple[ast.stmt, str]]:
        """Every imported name, in full: ``from os import environ`` gives ``os.environ``."""
        found: list[tuple[ast.stmt, str]] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [(node, f"{self._origin(node)}.{alias.name}") for alias in node.names]
        return found

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """What each imported name means, wherever in the module it was imported."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{self._origin(node)}.{alias.name}"
        return found

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        base = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])

    def dotted(self, node: ast.AST) -> str:
        """Return the full dotted name of ``a.b.c`` with its import resolved, or "" for anything else."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def names_used(self) -> Iterator[tuple[ast.expr, str]]:
        """Yield every dotted name in the code, resolved; the longest form of each."""
        inner = {id(node.value) for node in self.nodes if isinstance(node, ast.Attribute)}
        for node in self.nodes:
            if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner:
                name = self.dotted(node)
                if name:
                    yield node, name

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Yield every call with the resolved name of what is called ("" where it has none)."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield node, self.dotted(node.func)

    def finding(self, node: ast.AST, what: str) -> Finding:
        return Finding(self.path, getattr(node, "lineno", 1), what)


Checker = Callable[[list[Module]], list[Finding]]


def read(source: Path) -> list[Module]:
    """Return every module below a source directory, parsed, in order of their paths."""
    paths = sorted(source.rglob("*.py"))
    return [Module(path.relative_to(source).as_posix(), path.read_text("utf-8")) for path in paths]


@lru_cache(maxsize=1)
def house() -> list[Module]:
    """Return the modules of ``src``, read once for all tests."""
    return read(SRC)


@lru_cache(maxsize=1)
def tracked() -> Mapping[str, str]:
    """Return the text of every file that git tracks, by its path from the root; binary files are left out."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git, or no checkout of it: which files are the project's is not known")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]  # whoever the checkout belongs to
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    found: dict[str, str] = {}
    for path in listed.decode().split("\0"):
        content = (ROOT / path).read_bytes() if path and (ROOT / path).is_file() else b"\0"
        try:
            if b"\0" not in content:
                found[path] = content.decode("utf-8")
        except UnicodeDecodeError:
            continue
    return found


def plant(source: Path, files: Mapping[str, str]) -> list[Module]:
    """Write a small source tree with violations in it, and return it as `read` does."""
    for path, text in files.items():
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    return read(source)


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    parts = (
        ".*" if part == "**" else "[^/]*" if part == "*" else re.escape(part) for part in re.split(r"(\*\*|\*)", glob)
    )
    return re.compile("".join(parts))


def matches(path: str, globs: Iterable[str]) -> bool:
    """Say whether a path matches one of the globs; ``*`` stays in its directory, ``**`` does not."""
    return any(_pattern(glob).fullmatch(path) for glob in globs)


def report(findings: Iterable[Finding]) -> str:
    """Return the findings as the text of a failed assertion, one a line."""
    return "\n".join(["", *map(str, findings)])


def unused(table: Iterable[str], modules: list[Module], relevant: Checker) -> list[str]:
    """Return the globs of an allow-list that excuse nothing: they are to be removed."""
    excused = {finding.path for finding in relevant(modules)}
    return [glob for glob in table if not any(matches(path, [glob]) for path in excused)]

"""Nothing grows past what can be read at one go: modules, functions, the entries of processes."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from house.source import Definition, Finding, Module, house, matches, plant, report

LONGEST_MODULE = 500  # lines, all of them
REVIEW_FROM = 400
FUNCTION_UNDER = 40  # lines of code, from `def` on: without docstring, comments and blank lines
MAIN_UNDER = 80  # lines, all of them
# Longer than a module should be, looked at and left in one piece: path → why.
REVIEWED: dict[str, str] = {}
MAINS = ("rolecall/daemons/*/main.py",)

_NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
}  # fmt: skip


def long_modules(modules: list[Module]) -> list[Finding]:
    """Find modules that are too long, and long ones that nobody has looked at."""
    found = []
    for module in modules:
        lines = len(module.text.splitlines())
        if lines > LONGEST_MODULE:
            found.append(Finding(module.path, lines, f"{lines} lines; {LONGEST_MODULE} are the most"))
        elif lines > REVIEW_FROM and module.path not in REVIEWED:
            found.append(Finding(module.path, lines, f"{lines} lines, over {REVIEW_FROM}: split it, or review it"))
    return found


def long_functions(modules: list[Module]) -> list[Finding]:
    """Find functions and methods that are too long; what is nested in one counts in it."""
    return [
        module.finding(node, f"{node.name} has {lines} lines of code; it is to stay under {FUNCTION_UNDER}")
        for module in modules
        for node, lines in _functions(module)
        if lines >= FUNCTION_UNDER
    ]


def long_mains(modules: list[Module]) -> list[Finding]:
    """Find entries of processes that do more than wire and run."""
    lengths = {module.path: len(module.text.splitlines()) for module in modules if matches(module.path, MAINS)}
    return [
        Finding(path, lines, f"{lines} lines; main.py is to stay under {MAIN_UNDER}")
        for path, lines in lengths.items()
        if lines >= MAIN_UNDER
    ]


def _functions(module: Module) -> Iterator[tuple[Definition, int]]:
    code = _lines_of_code(module)
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node, len(code & {*range(node.lineno, node.end_lineno + 1)})


def _lines_of_code(module: Module) -> set[int]:
    """Return the numbers of the lines that hold code, all lines of a text that runs over several included."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in _NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in module.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            assert node.end_lineno is not None
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return lines


def test_modules_are_short() -> None:
    """In the house, a module over 400 lines has been looked at, and none has over 500."""
    found = long_modules(house())
    assert not found, report(found)


def test_every_review_is_still_needed() -> None:
    """A module that has become shorter comes off the list."""
    long = {module.path for module in house() if len(module.text.splitlines()) > REVIEW_FROM}
    assert set(REVIEWED) <= long


def test_functions_are_short() -> None:
    """In the house, a function fits on a screen."""
    found = long_functions(house())
    assert not found, report(found)


def test_mains_are_short() -> None:
    """In the house, main.py wires and runs; what decides is elsewhere."""
    found = long_mains(house())
    assert not found, report(found)


def test_planted_lengths_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line over the limit is seen, the limit itself is not."""
    reviewed = "rolecall/core/d.py"
    monkeypatch.setitem(REVIEWED, reviewed, "looked at")
    modules = plant(
        tmp_path,
        {
            "rolecall/core/a.py": "x = 1\n" * 501,
            "rolecall/core/b.py": "x = 1\n" * 401,
            "rolecall/core/c.py": "x = 1\n" * 400,
            reviewed: "# one\n" * 500,
            "rolecall/daemons/agent/main.py": "x = 1\n" * 80,
            "rolecall/daemons/server/main.py": "x = 1\n" * 79,
        },
    )
    assert {finding.path for finding in long_modules(modules)} == {"rolecall/core/a.py", "rolecall/core/b.py"}
    assert [finding.path for finding in long_mains(modules)] == ["rolecall/daemons/agent/main.py"]
    (tmp_path / reviewed).write_text("x = 1\n" * 501)
    assert reviewed in {finding.path for finding in long_modules(plant(tmp_path, {}))}


def test_planted_long_functions_are_found(tmp_path: Path) -> None:
    """Code counts, nested code and long texts with it; docstring, comments and blank lines do not."""
    modules = plant(
        tmp_path,
        {
            "rolecall/core/a.py": "def forty():\n" + "    x = 1\n" * 39,
            "rolecall/core/b.py": "class A:\n    async def method(self):\n" + "        x = 1\n" * 39,
            "rolecall/core/c.py": "def outer():\n    def inner():\n" + "        x = 1\n" * 38,
            "rolecall/core/d.py": 'def text():\n    x = """' + "\n" * 38 + '"""\n',
            "rolecall/core/e.py": "def arguments(\n" + "".join(f"    a{n},\n" for n in range(37)) + "):\n    x = 1\n",
            "rolecall/core/f.py": "def under():\n" + "    x = 1\n" * 38,
            "rolecall/core/g.py": 'def said():\n    """Say.' + "\n" * 9 + '    """\n' + "\n    # so\n    x = 1\n" * 38,
        },
    )
    found = long_functions(modules)
    assert [finding.what.split()[0] for finding in found] == ["forty", "method", "outer", "text", "arguments"]

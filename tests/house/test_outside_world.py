"""Only edges touch sockets, processes, files and databases."""

from __future__ import annotations

import ast
from pathlib import Path

from house.source import Finding, Module, house, matches, plant, report

# Where the outside may be touched in any way.
DOORS_TO_THE_WORLD = {
    "rolecall/edges/**": "the floor that is there for it",
    "rolecall/daemons/serving.py": "the corridor between a listener and the rooms",
    "rolecall/daemons/runner.py": "processes: tasks, signals, children",
    "rolecall/cli/run.py": "runs a program as a pod would run",
    "rolecall/testing/**": "fakes of the outside are outside",
}
# Where files that are given by name may be read, and nothing else.
READERS = {
    "rolecall/daemons/*/config.py": "a configuration file that the operator named",
}

MODULES = (
    "socket", "ssl", "subprocess", "http.client", "http.server", "urllib.request", "sqlite3", "socketserver", "select",
    "selectors", "fcntl", "pty", "multiprocessing", "ftplib", "smtplib", "mmap", "dbm", "shelve", "tempfile", "shutil",
    "requests", "aiohttp", "httpx", "urllib3", "websockets",
)  # fmt: skip
CALLS = (
    "asyncio.open_connection", "asyncio.open_unix_connection", "asyncio.start_server", "asyncio.start_unix_server",
    "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "importlib.import_module", "__import__",
)  # fmt: skip
# Pure functions and constants of os; every other function of it talks to the kernel.
PURE_OS = (
    "os.path.**", "os.fspath", "os.fsdecode", "os.fsencode", "os.PathLike", "os.sep", "os.linesep", "os.EX_**",
    "os.devnull", "os.SEEK_**", "os.environ**", "os.getenv**", "os.urandom", "os.getrandom", "os.cpu_count",
    "os.strerror", "os.get_terminal_size", "os.O_**", "os.getpid",
)  # fmt: skip
IMPURE_OS_PATH = (
    "exists",
    "isfile",
    "isdir",
    "islink",
    "getsize",
    "getmtime",
    "realpath",
    "samefile",
    "lexists",
)
OPENERS = {"open", "io.open", "os.open", "codecs.open", "tarfile.open", "zipfile.ZipFile", "gzip.open"}
READING_METHODS = {"read_text", "read_bytes"}
# Methods of Path and of event loops that have no namesake in str, dict or list.
METHODS = {
    "write_text", "write_bytes", "mkdir", "unlink", "rmdir", "touch", "iterdir", "rglob", "is_file", "is_dir",
    "is_symlink", "symlink_to", "hardlink_to", "chmod", "lchmod", "lstat", "readlink", "create_server",
    "create_unix_server", "create_connection", "create_unix_connection", "create_datagram_endpoint", "sendfile",
    "subprocess_exec", "subprocess_shell", "sock_connect", "sock_accept", "sock_recv", "sock_sendall",
}  # fmt: skip
# Names that others have too: a finding only where the module knows paths, or with these arguments.
PATH_METHODS = {"exists", "stat", "open", "rename", "glob", "resolve"}


def touches(modules: list[Module]) -> list[Finding]:
    """Find everything that touches the outside, wherever it is."""
    return [finding for module in modules for finding in (*_imports(module), *_uses(module), *_methods(module))]


def touches_out_of_place(modules: list[Module]) -> list[Finding]:
    """Find what touches the outside where it must not."""
    return [
        finding
        for finding in touches(modules)
        if not matches(finding.path, DOORS_TO_THE_WORLD)
        and not (matches(finding.path, READERS) and finding.what.startswith("reads a file"))
    ]


def _imports(module: Module) -> list[Finding]:
    seen = {}
    for node, name in module.imports:
        for forbidden in MODULES:
            if name == forbidden or name.startswith(f"{forbidden}."):
                seen[node.lineno, forbidden] = module.finding(node, f"imports {forbidden}")
    return list(seen.values())


def _uses(module: Module) -> list[Finding]:
    found = []
    for node, name in module.names_used():
        if name in CALLS:
            found.append(module.finding(node, f"uses {name}"))
        elif name in OPENERS:
            found.append(module.finding(node, f"reads a file or worse: {name}"))
        elif name.startswith("os.path.") and name.rpartition(".")[2] in IMPURE_OS_PATH:
            found.append(module.finding(node, f"looks at the file system: {name}"))
        elif name.startswith("os.") and not matches(name, PURE_OS) and "os" in module.aliases.values():
            found.append(module.finding(node, f"talks to the kernel: {name}"))
    for node, name in module.imports:
        if name.startswith("os.") and not matches(name, PURE_OS):
            found.append(module.finding(node, f"talks to the kernel: {name}"))
    return found


def _methods(module: Module) -> list[Finding]:
    found = []
    knows_paths = any(name.partition(".")[0] in {"pathlib", "importlib"} for _, name in module.imports)
    for node, name in module.calls():
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method in READING_METHODS:
            found.append(module.finding(node, f"reads a file: .{method}()"))
            continue
        ambiguous = method in PATH_METHODS and knows_paths and name not in OPENERS
        if (method in METHODS or ambiguous) and not name.startswith("os."):
            found.append(module.finding(node, f"touches the outside: .{method}()"))
    return found


def test_only_edges_touch_the_outside() -> None:
    """In the house, everything else gets what it needs handed in."""
    found = touches_out_of_place(house())
    assert not found, report(found)


def test_a_planted_touch_is_found(tmp_path: Path) -> None:
    """Imports at the top and inside functions, aliases, files by every road."""
    violations = {
        "rolecall/core/a.py": "import socket\n",
        "rolecall/core/b.py": "def f():\n    from urllib import request\n    return request\n",
        "rolecall/core/c.py": "import urllib.request as fetch\n",
        "rolecall/core/d.py": "def f(p):\n    with open(p) as file:\n        return file\n",
        "rolecall/core/e.py": "def f(path):\n    path.write_text('x')\n",
        "rolecall/mechanisms/f.py": "import os as system\nsystem.remove('x')\n",
        "rolecall/mechanisms/g.py": "from os import replace as r\n",
        "rolecall/daemons/h.py": "import asyncio\nasync def f():\n    await asyncio.open_connection('h', 1)\n",
        "rolecall/daemons/server/i.py": "import sqlite3\n",
        "rolecall/daemons/server/j.py": "import importlib\nx = importlib.import_module('soc' + 'ket')\n",
        "rolecall/daemons/server/config.py": "def f(p):\n    p.write_text('not a reader')\n",
        "rolecall/cli/k.py": "import pathlib\ndef f(p: pathlib.Path):\n    return p.exists()\n",
        "rolecall/cli/l.py": "import os.path\nx = os.path.exists('x')\n",
        "rolecall/cli/m.py": "async def f(loop):\n    await loop.create_server(None)\n",
    }
    innocent = {
        "rolecall/edges/a.py": "import socket, sqlite3, subprocess\nopen('x')\n",
        "rolecall/daemons/agent/config.py": "def f(p):\n    return p.read_text()\n",
        "rolecall/cli/run.py": "import subprocess\n",
        "rolecall/core/n.py": "import os\nx = os.path.join('a', 'b')\ny = 'a'.replace('a', 'b')\n",
        "rolecall/core/o.py": "from http import HTTPStatus\nfrom urllib.parse import quote\n",
    }
    found = touches_out_of_place(plant(tmp_path, violations | innocent))
    assert {finding.path for finding in found} == set(violations)

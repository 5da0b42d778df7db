"""The floors hold: each contract of ``.importlinter`` is kept by the house, and each one can be broken."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from house.source import ROOT, SRC

CONFIG = ROOT / ".importlinter"
# What is planted → (the contracts that it breaks and no other, the file, at the end of it). Contracts look through
# a whole chain of imports: whoever imports an edge imports what the edge imports, asyncio for one.
PLANTED = {
    "core imports edges": ("floors pure", "core/names.py", "from rolecall.edges import clock\n"),
    "relative import": ("floors pure", "core/policy/match.py", "from ...edges import limits\n"),
    "inside a function": ("floors pure", "core/names.py", "def f():\n    import rolecall.edges.limits\n"),
    "mechanisms import edges": ("floors pure", "mechanisms/irsa/decide.py", "from rolecall.edges import clock\n"),
    "edges import mechanisms": ("floors", "edges/cache.py", "from rolecall.mechanisms.pod_identity import wire\n"),
    "daemons import cli": ("floors", "daemons/agent/build.py", "import rolecall.cli\n"),
    "core imports os": ("pure", "core/names.py", "import os\n"),
    "mechanism reads time": ("pure", "mechanisms/irsa/decide.py", "def f():\n    from time import time\n"),
    "irsa imports Pod Identity": ("rooms", "mechanisms/irsa/decide.py", "import rolecall.mechanisms.pod_identity\n"),
    "the protocol imports a room": ("imds rooms", "mechanisms/imds/door.py", "import rolecall.mechanisms.host_role\n"),
    "server imports plane": ("daemons", "daemons/server/wire.py", "import rolecall.daemons.local_aws.wire\n"),
    "agent imports server": ("daemons", "daemons/agent/build.py", "import rolecall.daemons.server.wire\n"),
    "plane imports agent": ("plane-and-agent", "daemons/local_aws/build.py", "import rolecall.daemons.agent.config\n"),
    "cli imports fakes": ("fakes", "cli/__init__.py", "from rolecall.testing import fake_clock\n"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of ``src`` that may be broken, one file at a time."""
    source = tmp_path_factory.mktemp("planted")
    shutil.copytree(SRC, source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return source


def contracts() -> dict[str, str]:
    """Return the contracts' ids by their names."""
    parser = configparser.ConfigParser()
    parser.read(CONFIG)
    prefix = "importlinter:contract:"
    return {parser[section]["name"]: section[len(prefix) :] for section in parser if section.startswith(prefix)}


def lint(source: Path) -> dict[str, str]:
    """Run import-linter on a tree; return contract → KEPT or BROKEN."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
         "--config", str(CONFIG), "--no-cache", "--no-logo"],
        cwd=source, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    ids = contracts()
    found = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert set(found) == set(ids), done.stdout + done.stderr
    assert done.returncode == ("BROKEN" in found.values())
    return {ids[name]: outcome for name, outcome in found.items()}


def test_the_house_keeps_every_contract(copy: Path) -> None:
    """In the house, imports point to the left only."""
    assert set(lint(copy).values()) == {"KEPT"}


def test_every_contract_is_broken_below() -> None:
    """A new contract needs a planted violation."""
    assert {name for broken, _, _ in PLANTED.values() for name in broken.split()} == set(contracts().values())


@pytest.mark.parametrize(("broken", "path", "statement"), PLANTED.values(), ids=PLANTED)
def test_a_planted_import_breaks_its_contract(copy: Path, broken: str, path: str, statement: str) -> None:
    """The contracts that the import is about are broken, and the others are kept."""
    target = copy / "rolecall" / path
    sound = target.read_text("utf-8")
    target.write_text(f"{sound}\n{statement}", "utf-8")
    try:
        found = lint(copy)
    finally:
        target.write_text(sound, "utf-8")
    assert sorted(name for name, outcome in found.items() if outcome == "BROKEN") == broken.split()

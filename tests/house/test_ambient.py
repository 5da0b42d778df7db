"""Environment, arguments, time and chance each have one reader; everything else gets them handed in."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from house.source import Finding, Module, house, matches, plant, report

ENVIRONMENT_READERS = {
    "rolecall/**/config.py": "turns flags, environment and file into one frozen value",
    "rolecall/cli/**": "the entry: the person's terminal and shell are its input",
}
CLOCK = {"rolecall/edges/clock.py": "the only clock"}
ENTROPY = {"rolecall/edges/entropy.py": "the only dice"}

ENVIRONMENT = (
    "os.environ**", "os.environb**", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv",
    "sys.argv**", "sys.orig_argv**", "os.path.expanduser", "os.path.expandvars",
    "pathlib.Path.home", "os.getlogin", "getpass.**", "sys.stdin**",
)  # fmt: skip
TIME = (
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.process_time", "time.process_time_ns", "time.thread_time", "time.clock_gettime", "time.clock_gettime_ns",
    "time.localtime", "time.sleep", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today",
    "datetime.date.today", "asyncio.sleep",
)  # fmt: skip
# These convert what they are given and read the clock when given less; the number is how much is enough.
TIME_WHEN_SHORT = {
    "time.gmtime": 1,
    "time.ctime": 1,
    "time.asctime": 1,
    "time.strftime": 2,
    "email.utils.formatdate": 1,
}
TIME_WHEN_SHORT |= {"email.utils.localtime": 1}
CHANCE = (
    "random.**", "secrets.**", "os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "ssl.RAND_**",
    "numpy.random.**",
)  # fmt: skip


def environment_reads(modules: list[Module]) -> list[Finding]:
    """Find readers of environment, arguments, home directory and terminal input."""
    found = _used(modules, ENVIRONMENT, "reads the environment")
    for module in modules:
        for node, name in module.calls():
            if isinstance(node.func, ast.Attribute) and node.func.attr == "expanduser" and not name.startswith("os."):
                found.append(module.finding(node, "reads the environment: .expanduser()"))
    return [finding for finding in found if not matches(finding.path, ENVIRONMENT_READERS)]


def clock_reads(modules: list[Module]) -> list[Finding]:
    """Find readers of time, and sleepers: waiting goes through a Clock. ``sleep(0)`` only lets others run."""
    yields = {id(node.func) for module in modules for node, name in module.calls() if _is_zero_sleep(node, name)}
    found = _used(modules, TIME, "reads time", but=yields)
    for module in modules:
        for node, name in module.calls():
            if name in TIME_WHEN_SHORT and len(node.args) < TIME_WHEN_SHORT[name]:
                found.append(module.finding(node, f"reads time: {name} without a time"))
            if isinstance(node.func, ast.Attribute) and node.func.attr == "time" and not node.args and name not in TIME:
                found.append(module.finding(node, "reads time: .time()"))

    return [finding for finding in found if not matches(finding.path, CLOCK)]


def dice_throws(modules: list[Module]) -> list[Finding]:
    """Find readers of chance."""
    return [finding for finding in _used(modules, CHANCE, "reads chance") if not matches(finding.path, ENTROPY)]


def _is_zero_sleep(node: ast.Call, name: str) -> bool:
    return (
        name == "asyncio.sleep"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and not node.args[0].value
    )


def _used(modules: list[Module], forbidden: Iterable[str], what: str, but: Iterable[int] = ()) -> list[Finding]:
    """Find uses of dotted names, and imports that bring them in under a bare name."""
    found: dict[tuple[str, int, str], Finding] = {}
    for module in modules:
        imported = {name.partition(".")[0] for name in module.aliases.values()}
        names = [(node, name) for node, name in module.names_used() if id(node) not in set(but)]
        for node, name in [*names, *((node, name) for node, name in module.imports if "." in name)]:
            if name.partition(".")[0] in imported and matches(name, forbidden):
                if name == "asyncio.sleep" and isinstance(node, ast.stmt):
                    continue
                found[module.path, node.lineno, name] = module.finding(node, f"{what}: {name}")
    return list(found.values())


def test_only_config_and_cli_read_the_environment() -> None:
    """In the house, whoever wants a setting is given it."""
    found = environment_reads(house())
    assert not found, report(found)


def test_only_the_clock_reads_time() -> None:
    """In the house, time is an argument, and waiting goes through a Clock."""
    found = clock_reads(house())
    assert not found, report(found)


def test_only_entropy_reads_chance() -> None:
    """In the house, dice are an argument."""
    found = dice_throws(house())
    assert not found, report(found)


def test_a_planted_environment_read_is_found(tmp_path: Path) -> None:
    """By attribute, by imported name, by alias, and the home directory too."""
    violations = {
        "rolecall/core/a.py": "import os\nx = os.environ['HOME']\n",
        "rolecall/core/b.py": "from os import environ\n",
        "rolecall/edges/c.py": "import os as o\nx = o.getenv('A')\n",
        "rolecall/edges/d.py": "import sys\ndef f():\n    return sys.argv[1:]\n",
        "rolecall/edges/e.py": "def f(path):\n    return path.expanduser()\n",
        "rolecall/edges/f.py": "from pathlib import Path\nx = Path.home()\n",
    }
    innocent = {
        "rolecall/daemons/agent/config.py": "import os\nx = os.environ\n",
        "rolecall/cli/main.py": "import sys\nx = sys.argv\n",
        "rolecall/core/g.py": "def f(environ):\n    return environ['A']\n",
    }
    found = environment_reads(plant(tmp_path, violations | innocent))
    assert {finding.path for finding in found} == set(violations)


def test_a_planted_clock_read_is_found(tmp_path: Path) -> None:
    """Every clock of the standard library; conversions of a given time are none."""
    violations = {
        "rolecall/core/a.py": "import time\nx = time.time()\n",
        "rolecall/core/b.py": "from time import monotonic as tick\nx = tick()\n",
        "rolecall/core/c.py": "import datetime\nx = datetime.datetime.now(datetime.UTC)\n",
        "rolecall/core/d.py": "from datetime import datetime, UTC\nx = datetime.now(UTC)\n",
        "rolecall/edges/e.py": "def f(loop):\n    return loop.time()\n",
        "rolecall/edges/f.py": "import asyncio\nasync def f():\n    await asyncio.sleep(5)\n",
        "rolecall/edges/g.py": "import time\nx = time.gmtime()\n",
        "rolecall/edges/h.py": "import time\nx = {'default_factory': time.time}\n",
        "rolecall/edges/i.py": "from email.utils import formatdate\nx = formatdate(usegmt=True)\n",
    }
    innocent = {
        "rolecall/edges/clock.py": "import time\nx = time.time()\n",
        "rolecall/core/j.py": "import time\ndef f(now):\n    return time.strftime('%Y', time.gmtime(now))\n",
        "rolecall/core/k.py": (
            "from datetime import UTC, datetime\ndef f(now):\n    return datetime.fromtimestamp(now, UTC)\n"
        ),
        "rolecall/edges/l.py": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n",
    }
    found = clock_reads(plant(tmp_path, violations | innocent))
    assert {finding.path for finding in found} == set(violations)


def test_a_planted_throw_of_dice_is_found(tmp_path: Path) -> None:
    """The modules of chance, by whatever name; our own `secrets` module is none."""
    violations = {
        "rolecall/core/a.py": "import random\nx = random.random()\n",
        "rolecall/core/b.py": "from secrets import token_hex\n",
        "rolecall/edges/c.py": "import uuid\nx = uuid.uuid4()\n",
        "rolecall/edges/d.py": "import os\nx = os.urandom(8)\n",
        "rolecall/daemons/e.py": "def f():\n    import random as dice\n    return dice.choice\n",
    }
    innocent = {
        "rolecall/edges/entropy.py": "import secrets\nx = secrets.token_bytes(8)\n",
        "rolecall/core/f.py": "from rolecall.core.secrets import Secret\nx = Secret('a')\n",
        "rolecall/core/g.py": "from rolecall.core import secrets\nx = secrets.Secret('a')\n",
        "rolecall/core/h.py": "import uuid\nx = uuid.UUID('0' * 32)\n",
    }
    found = dice_throws(plant(tmp_path, violations | innocent))
    assert {finding.path for finding in found} == set(violations)

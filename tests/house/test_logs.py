"""No log line of any test shows a revealed secret: ``tests/conftest.py`` sees to it, and is seen to fail here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from house.source import ROOT

CONFTEST = ROOT / "tests" / "conftest.py"
HEAD = """
import logging
import threading
import pytest
from rolecall.core.secrets import Secret
from rolecall.edges.telemetry import Log, configure

SHORT, PLAIN, LONG = "sesame", 'open "sesame" é', "0123456789abcdef" * 6
log, other = Log("rolecall.agent"), logging.getLogger("somebody.else")

@pytest.fixture(scope="module")
def opened():
    return Secret("once for the whole file").reveal()
"""
# Each is the body of a test that must fail.
LEAKS = {
    "message": "log.info('say ' + Secret(PLAIN).reveal())",
    "bytes": "log.info(Secret(PLAIN).reveal_bytes().decode())",
    "field": "log.debug('agent.asked', token=Secret(PLAIN).reveal())",
    "nested_field": "log.debug('agent.asked', headers=[('a', {'b': Secret(PLAIN).reveal()})])",
    "bound_field": "log.bind(token=Secret(PLAIN).reveal()).debug('agent.asked')",
    "before_revealed": "log.info('x', token=PLAIN); Secret(PLAIN).reveal()",
    "argument": "other.warning('say %s', Secret(PLAIN).reveal())",
    "object": "class A:\n        def __repr__(self): return Secret(PLAIN).reveal()\n    other.warning('say %r', A())",
    "traceback": (
        "try:\n        raise ValueError(Secret(PLAIN).reveal())\n    except ValueError:\n        other.exception('oh')"
    ),
    "url": "log.info('x', url='http://h/?token=open%20%22sesame%22%20%C3%A9'); Secret(PLAIN).reveal()",
    "head_of_long": "log.info('x', token=Secret(LONG).reveal()[:50] + '...')",
    "tail_of_long": "log.info('x', token='...' + Secret(LONG).reveal()[-30:])",
    "thread": ("t = threading.Thread(target=lambda: log.info(Secret(PLAIN).reveal()))\n    t.start()\n    t.join()"),
    "own_handler": ("import io\n    configure(io.StringIO(), 'info')\n    log.info('x', token=Secret(PLAIN).reveal())"),
}
# Each is the body of a test that must pass.
FINE = {
    "secret_itself": "log.info('x', token=Secret(PLAIN), text=f'{Secret(PLAIN)}'); Secret(PLAIN).reveal()",
    "another_value": "Secret(PLAIN).reveal(); log.info('x', token='open')",
    "short_value": "log.info('x', token=Secret(SHORT).reveal())",
    "never_revealed": "log.info('x', token='somebody made this up')",
    "nothing_logged": "assert Secret(PLAIN).reveal() == PLAIN",
    "odd_field": "log.info('x', **{'a': {('no', 'key'): 1}})",
    "crash": "log.crash('x', ValueError(Secret(PLAIN).reveal()))",
}
# Tests with fixtures, in one file: what one part reveals another may log.
WITH_FIXTURES = """
def test_fine_fixture_reveals(opened):
    pass

def test_leak_later_test(opened):
    log.info("x", token=opened)

@pytest.fixture
def leaving():
    yield
    log.info("x", token=Secret(PLAIN).reveal())

def test_leak_in_teardown(leaving):
    pass
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    """Run all of them under the real conftest, once; return test → outcome, and the output."""
    place = tmp_path_factory.mktemp("inner")
    cases = {f"leak_{name}": body for name, body in LEAKS.items()} | {f"fine_{name}": FINE[name] for name in FINE}
    text = HEAD + "".join(f"\ndef test_{name}():\n    {body}\n" for name, body in cases.items()) + WITH_FIXTURES
    (place / "test_inner.py").write_text(text, "utf-8")
    (place / "test_later.py").write_text(f"{HEAD}\ndef test_fine_other_file():\n    log.info(PLAIN)\n", "utf-8")
    (place / "conftest.py").write_text(CONFTEST.read_text("utf-8"), "utf-8")
    (place / "pytest.ini").write_text("[pytest]\n", "utf-8")
    return run_pytest(place)


def run_pytest(place: Path) -> tuple[dict[str, str], str]:
    """Run the tests of a directory in a process of their own; return test → the worst of its outcomes."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", "--show-capture=no", "--tb=short"],
        cwd=place, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, str] = {}
    for word, name in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE):
        found[name] = word if found.get(name, "PASSED") == "PASSED" else found[name]
    return found, done.stdout + done.stderr


def test_every_leak_is_caught(outcome: tuple[dict[str, str], str]) -> None:
    """Each way of logging a revealed secret makes its test fail, after its body has passed."""
    found, output = outcome
    names = [*(f"test_leak_{name}" for name in LEAKS), "test_leak_later_test", "test_leak_in_teardown"]
    assert [name for name in names if found.get(name) != "ERROR"] == [], output


def test_what_is_fine_passes(outcome: tuple[dict[str, str], str]) -> None:
    """A Secret that hides itself, a short value, the secret of another file: no test fails by those."""
    found, output = outcome
    names = [*(f"test_fine_{name}" for name in FINE), "test_fine_other_file", "test_fine_fixture_reveals"]
    assert [name for name in names if found.get(name) != "PASSED"] == [], output


def test_the_report_shows_no_secret(outcome: tuple[dict[str, str], str]) -> None:
    """What is said about a leak does not leak again."""
    _, output = outcome
    said = [line for line in output.splitlines() if "a log line shows a secret" in line]
    assert len(said) >= len(LEAKS) - 1
    assert not [line for line in said if "sesame" in line or "0123456789abcdef" in line]


def test_this_run_is_watched(pytestconfig: pytest.Config) -> None:
    """The conftest is in force here as well, not only in the run above."""
    assert pytestconfig.pluginmanager.has_plugin("rolecall-log-watch")

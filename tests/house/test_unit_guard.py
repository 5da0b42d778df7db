"""Unit tests have no network and do not wait: ``tests/unit/conftest.py`` sees to it, and is seen to fail here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from house.source import ROOT

CONFTEST = ROOT / "tests" / "unit" / "conftest.py"
HEAD = """
import asyncio, contextlib, http.client, os, socket, time, urllib.request
import uvloop
from rolecall.edges.clock import SystemClock

def inet(): return socket.socket(socket.AF_INET)
"""
# Each is the body of a test that must fail.
REFUSED = {
    "connect": "with inet() as s: s.connect(('127.0.0.1', 9))",
    "connect_ex": "with inet() as s: s.connect_ex(('127.0.0.1', 9))",
    "connect_v6": "with socket.socket(socket.AF_INET6) as s: s.connect(('::1', 9))",
    "bind": "with inet() as s: s.bind(('127.0.0.1', 0))",
    "sendto": "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(b'', ('127.0.0.1', 9))",
    "name": "socket.getaddrinfo('localhost', 80)",
    "old_name": "socket.gethostbyname('localhost')",
    "http": "http.client.HTTPConnection('127.0.0.1', 9).request('GET', '/')",
    "asyncio_server": "asyncio.run(asyncio.start_server(lambda r, w: None, '127.0.0.1', 0))",
    "asyncio_client": "asyncio.run(asyncio.open_connection('127.0.0.1', 9))",
    "uvloop_server": "uvloop.run(asyncio.start_server(lambda r, w: None, '127.0.0.1', 0))",
    "uvloop_client": "uvloop.run(asyncio.open_connection('127.0.0.1', 9))",
    "uvloop_name": "uvloop.run(names())",
    "swallowed": "with contextlib.suppress(Exception): socket.getaddrinfo('localhost', 80)",
    "sleep": "time.sleep(0.06)",
    "asyncio_sleep": "asyncio.run(asyncio.sleep(0.06))",
    "clock": "asyncio.run(SystemClock().sleep(0.06))",
}
# Each is the body of a test that must pass.
ALLOWED = {
    "event_loop": "asyncio.run(asyncio.sleep(0))",
    "uvloop": "uvloop.run(asyncio.sleep(0.01))",
    "socketpair": "a, b = socket.socketpair(); a.sendall(b'x'); assert b.recv(1) == b'x'; a.close(); b.close()",
    "streams_on_a_pair": "asyncio.run(talk())",
    "streams_on_a_pair_uvloop": "uvloop.run(talk())",
    "unix_socket": "with socket.socket(socket.AF_UNIX) as s: s.bind(f'{os.environ[\"PLACE\"]}/s')",
    "short_sleep": "time.sleep(0.001)",
}
TAIL = """
async def talk():
    left, right = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=left)
    right.sendall(b"x")
    assert await reader.read(1) == b"x"
    right.close()
    writer.close()
    await writer.wait_closed()

async def names():
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, set[str]], str]:
    """Run all of them under the real conftest, once; return test → its outcomes, and the output."""
    place = tmp_path_factory.mktemp("inner")
    cases = {f"refused_{name}": body for name, body in REFUSED.items()}
    cases |= {f"allowed_{name}": body for name, body in ALLOWED.items()}
    text = HEAD + "".join(f"\ndef test_{name}():\n    {body}\n" for name, body in cases.items()) + TAIL
    (place / "unit").mkdir()
    (place / "unit" / "test_inner.py").write_text(text, "utf-8")
    (place / "unit" / "conftest.py").write_text(CONFTEST.read_text("utf-8"), "utf-8")
    # Elsewhere the network is there; it runs after the unit tests, with the hook still in the process.
    outside = f"{HEAD}\ndef test_outside():\n    with inet() as s: s.bind(('127.0.0.1', 0))\n    time.sleep(0.06)\n"
    (place / "zone").mkdir()
    (place / "zone" / "test_outside.py").write_text(outside, "utf-8")
    (place / "pytest.ini").write_text("[pytest]\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", "--tb=line", "unit", "zone"],
        cwd=place, env={"PATH": os.environ["PATH"], "PLACE": str(place)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, set[str]] = {}
    for word, name in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE):
        found.setdefault(name, set()).add(word)
    return found, done.stdout + done.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_touching_the_outside_fails(outcome: tuple[dict[str, set[str]], str], name: str) -> None:
    """Each road out is closed, by the guard and not by what lies behind it."""
    found, output = outcome
    assert "ERROR" in found.get(f"test_refused_{name}", set()), output


@pytest.mark.parametrize("name", ALLOWED)
def test_what_stays_inside_passes(outcome: tuple[dict[str, set[str]], str], name: str) -> None:
    """Event loops, socket pairs and Unix sockets are no network; a turn of the loop is no waiting."""
    found, output = outcome
    assert found.get(f"test_allowed_{name}") == {"PASSED"}, output


def test_other_tests_have_a_network(outcome: tuple[dict[str, set[str]], str]) -> None:
    """The guard is off again after the unit tests."""
    found, output = outcome
    assert found.get("test_outside") == {"PASSED"}, output


def test_the_guard_is_where_the_unit_tests_are() -> None:
    """No unit test is collected from elsewhere, and none turns the guard off."""
    assert CONFTEST.is_file()
    strays = [path for path in (ROOT / "tests" / "unit").rglob("conftest.py") if path != CONFTEST]
    assert not [path for path in strays if "no_outside" in Path(path).read_text("utf-8")]

"""A child process, really started."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rolecall.edges.child_process import ChildProcess

SAY = 'import json, signal, sys, time\ndef say(line): sys.stderr.write(line + "\\n"); sys.stderr.flush()\n'
SERVING = 'say(json.dumps({"event": "agent.serving", "addresses": ["127.0.0.1:1", "127.0.0.1:2"]}))\n'
STAY = "sys.stdin.read()\n"


def play(scene: Callable[[ChildProcess], Awaitable[None]], program: str, log: Path) -> None:
    """Run a scene with a child that runs a program; it is stopped at the end."""

    async def run() -> None:
        child = ChildProcess([sys.executable, "-c", SAY + program], {"ONLY": "this"}, log=log)
        async with asyncio.timeout(20):
            try:
                await scene(child)
            finally:
                await child.stop()
                await child.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="nothing before it"),
        pytest.param('say("words")\nsay("")\nsay("{")\n', id="words"),
        pytest.param('for line in ("1", "null", "[]", "true"): say(line)\n', id="JSON that is no object"),
        pytest.param('sys.stderr.buffer.write(b"\\xff\\xfe\\n")\n', id="not UTF-8"),
        pytest.param('say("a" * 1_000_000)\n', id="a line too long"),
        pytest.param('say("[" * 50_000)\n', id="nested"),
    ],
)
def test_the_event_that_is_waited_for(tmp_path: Path, before: str) -> None:
    """Its field's first entry, whatever else the child says; its words go to a private file."""
    log = tmp_path / "agent.log"

    async def scene(child: ChildProcess) -> None:
        assert await child.first_event("agent.serving", "addresses", timeout=15.0) == "127.0.0.1:1"
        assert '"agent.serving"' in child.last_line()

    play(scene, before + SERVING + STAY, log)
    assert b'"agent.serving"' in log.read_bytes()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("program", "last"),
    [
        pytest.param("pass", "it said nothing", id="silent"),
        pytest.param('say("the port is in use")\nsys.exit(2)', "the port is in use", id="with a reason"),
        pytest.param('say(json.dumps({"event": "agent.serving", "addresses": []}))', "agent.serving", id="no entry"),
    ],
)
def test_a_child_that_ends_before_its_event(tmp_path: Path, program: str, last: str) -> None:
    """None at once, not after the time that it had; its last words say why."""

    async def scene(child: ChildProcess) -> None:
        assert await child.first_event("agent.serving", "addresses", timeout=1e9) is None
        assert last in child.last_line()
        assert await child.wait() == (2 if "exit" in program else 0)

    play(scene, program, tmp_path / "log")


def test_a_child_that_never_says_it(tmp_path: Path) -> None:
    """None after the time that it had, and it is ended."""

    async def scene(child: ChildProcess) -> None:
        assert await child.first_event("agent.serving", "addresses", timeout=0.3) is None
        await child.stop()
        assert await child.wait() == -signal.SIGTERM

    play(scene, STAY, tmp_path / "log")


def test_it_gets_the_environment_that_was_handed_in(tmp_path: Path) -> None:
    """And nothing of ours; it is in a session of its own, so that Ctrl-C is ours to handle."""

    async def scene(child: ChildProcess) -> None:
        assert await child.first_event("env", "list", timeout=15.0) == "ONLY"
        assert await child.first_event("env", "list", timeout=15.0) == "ONLY"

    program = (
        "import os\nnames = [n for n in os.environ if n != 'LC_CTYPE']\n"
        'say(json.dumps({"event": "env", "list": names if len(names) == 1 and os.getsid(0) == os.getpid() else []}))\n'
    )
    play(scene, program + STAY, tmp_path / "log")


def test_a_child_that_will_not_end_is_ended(tmp_path: Path) -> None:
    """After a second, with SIGKILL."""

    async def scene(child: ChildProcess) -> None:
        assert await child.first_event("agent.serving", "addresses", timeout=15.0)
        await child.stop()
        assert await child.wait() == -signal.SIGKILL

    play(scene, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVING + "time.sleep(1000)\n", tmp_path / "log")


def test_a_grandchild_that_holds_the_pipe_does_not_hold_us(tmp_path: Path) -> None:
    """Stopping ends though somebody else could still write to the log."""
    pid_file = tmp_path / "pid"

    async def scene(child: ChildProcess) -> None:
        assert await child.first_event("agent.serving", "addresses", timeout=15.0)

    program = (
        "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
    )
    play(scene, program + SERVING + "time.sleep(1000)\n", tmp_path / "log")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_it_sees_its_parents_end(tmp_path: Path) -> None:
    """Its stdin is a pipe from us: a parent that was killed closes it, and nobody else holds the other end."""
    parent = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom rolecall.edges.child_process import ChildProcess\n"
        "async def main():\n"
        f"    child = ChildProcess([sys.executable, '-c', {SAY + SERVING + STAY + 'say(chr(33) * 3)'!r}], {{}},"
        f" log=Path({str(tmp_path / 'log')!r}))\n"
        "    await child.first_event('agent.serving', 'addresses', timeout=15.0)\n"
        "    print('serving', flush=True)\n    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
        )
        assert process.stdout is not None
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"serving\n"
            process.kill()
            await process.wait()

    asyncio.run(run())

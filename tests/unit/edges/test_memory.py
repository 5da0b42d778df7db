"""Which mappings are given back: those that hold the bytes of a file, and no others."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from rolecall.edges import memory
from rolecall.edges.memory import EVERY, give_back_pages, keep_giving_back, only_read
from rolecall.edges.telemetry import Log
from rolecall.testing.fake_clock import FakeClock


def mapping(head: str, resident: int, anonymous: int) -> str:
    """Return what the kernel says of one (proc(5), smaps)."""
    return f"{head}\nSize:    900 kB\nRss:    {resident} kB\nAnonymous:    {anonymous} kB\nVmFlags: rd mr mw me\n"


PYTHON = "7f0000000000-7f0000010000 r-xp 0001f000 fe:00 131 /usr/lib/libpython3.11.so.1.0"


@pytest.mark.parametrize(
    ("head", "resident", "anonymous", "found"),
    [
        pytest.param(PYTHON, 40, 0, [(0x7F0000000000, 0x10000, 40_960)], id="program"),
        pytest.param(PYTHON.replace("r-xp", "r--p"), 4, 0, [(0x7F0000000000, 0x10000, 4096)], id="constants"),
        pytest.param(PYTHON + " (deleted)", 4, 0, [(0x7F0000000000, 0x10000, 4096)], id="its name is gone"),
        pytest.param(PYTHON, 0, 0, [], id="nothing there"),
        pytest.param(PYTHON, 40, 4, [], id="a page was changed"),
        pytest.param(PYTHON.replace("r-xp", "rw-p"), 40, 0, [], id="writable"),
        pytest.param(PYTHON.replace("r-xp", "r-xs"), 40, 0, [], id="shared"),
        pytest.param(PYTHON.replace("r-xp", "---p"), 0, 0, [], id="a gap"),
        pytest.param("7f0000000000-7f0000010000 r--p 00000000 00:00 0", 40, 0, [], id="no file"),
        pytest.param("55d0c0000000-55d0c0010000 rw-p 00000000 00:00 0 [heap]", 40, 40, [], id="heap"),
        pytest.param("7fff00000000-7fff00002000 r-xp 00000000 00:00 0 [vdso]", 4, 0, [], id="the kernel's"),
    ],
)
def test_what_is_given_back(head: str, resident: int, anonymous: int, found: list[tuple[int, int, int]]) -> None:
    """Its address, its length and how much of it is there, also after and before others."""
    other = mapping("55d0b0000000-55d0b0001000 rw-p 00000000 00:00 0 [heap]", 8, 8)
    assert list(only_read((other + mapping(head, resident, anonymous) + other).splitlines())) == found


def test_this_process_gives_back_and_goes_on() -> None:
    """There is something to give back, and what was given back still works."""
    assert give_back_pages() > 0
    assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf")


def test_where_it_cannot_be_nothing_is(tmp_path: Path) -> None:
    """Such as without /proc."""
    assert give_back_pages(tmp_path / "smaps") == 0


def test_it_is_done_at_once_and_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is cancelled."""
    times: list[float] = []

    async def work() -> None:
        clock = FakeClock()
        monkeypatch.setattr(memory, "give_back_pages", lambda: times.append(clock.monotonic() - began) or 0)
        began = clock.monotonic()
        task = asyncio.create_task(keep_giving_back(clock, Log()))
        await clock.advance(2 * EVERY)
        task.cancel()
        await clock.advance(EVERY)

    asyncio.run(work())
    assert times == [0, EVERY, 2 * EVERY]

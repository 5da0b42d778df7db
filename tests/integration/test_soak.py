"""The long run in short: that it works, and that it would see what it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from soak.run import Sample, grown, soak

FLAT = Sample(0.0, 40.0, 32.0, 30, 12)


def test_what_grows_is_seen() -> None:
    """A leak of a few MB, of descriptors, of threads; not the warm-up, and not what goes up and down."""
    rows = range(40)
    assert grown([replace(FLAT, rss=40.0 + number % 3) for number in rows]) == []
    assert grown([replace(FLAT, rss=30.0 if number < 12 else 40.0) for number in rows]) == []
    for name, step in (("rss", 0.5), ("pss", 0.5), ("descriptors", 4), ("threads", 1)):
        (found,) = grown([replace(FLAT, **{name: getattr(FLAT, name) + number * step}) for number in rows])
        assert found.startswith(f"{name} is not flat")


def test_twenty_seconds_of_it(tmp_path: Path) -> None:
    """The holder is served throughout, nothing crashes; memory, which warms up for longer, is not judged."""
    said: list[str] = []
    faults = soak(tmp_path, seconds=20.0, every=1.0, say=said.append)
    assert [fault for fault in faults if "not flat" not in fault] == []
    assert len(said) > 15
    assert "pods 200" in said[-1]

"""Delays between attempts: exponential, capped, with jitter that the caller throws."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.backoff import delays


def constant(value: float) -> Callable[[], float]:
    """Return dice that always fall the same way."""
    return lambda: value


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"base": 1.0, "cap": 10.0, "dice": 1.0}, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0], id="ceilings"),
        pytest.param({"base": 1.0, "cap": 10.0, "dice": 0.5}, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0], id="half"),
        pytest.param({"base": 1.0, "cap": 10.0, "dice": 0.0}, [0.0] * 6, id="full-jitter-reaches-zero"),
        pytest.param({"base": 20.0, "cap": 10.0, "dice": 1.0}, [10.0] * 6, id="base-above-cap"),
        pytest.param({"base": 2.0, "cap": 8.0, "dice": 0.0, "least": 0.5}, [1.0, 2.0, 4.0, 4.0, 4.0, 4.0], id="least"),
        pytest.param({"base": 2.0, "cap": 8.0, "dice": 1.0, "least": 0.5}, [2.0, 4.0, 8.0, 8.0, 8.0, 8.0], id="most"),
        pytest.param({"base": 1.0, "cap": 4.0, "dice": 7.0}, [1.0, 2.0, 4.0, 4.0, 4.0, 4.0], id="loaded-high"),
        pytest.param({"base": 1.0, "cap": 4.0, "dice": -7.0}, [0.0] * 6, id="loaded-low"),
    ],
)
def test_table(settings: dict[str, float], expected: list[float]) -> None:
    """The first six delays."""
    dice = constant(settings.pop("dice"))
    assert list(islice(delays(**settings, dice=dice), 6)) == expected


@given(
    base=st.floats(0.001, 100),
    cap=st.floats(0.001, 1000),
    least=st.floats(0, 1),
    throws=st.lists(st.floats(0, 1), min_size=1, max_size=40),
)
def test_every_delay_is_in_its_bounds(base: float, cap: float, least: float, throws: list[float]) -> None:
    """The n-th lies between `least` of min(cap, base·2ⁿ) and the whole of it, one throw for each."""
    thrown = iter(throws)
    found = list(islice(delays(base=base, cap=cap, dice=lambda: next(thrown), least=least), len(throws)))
    for n, delay in enumerate(found):
        ceiling = min(cap, base * 2.0**n)
        assert ceiling * least <= delay * (1 + 1e-9)
        assert delay <= ceiling * (1 + 1e-9)
    assert next(thrown, None) is None


def test_it_never_ends_and_never_overflows() -> None:
    """After thousands of attempts the delay is still the cap."""
    assert next(islice(delays(base=1.0, cap=60.0, dice=constant(1.0)), 5_000, None)) == 60.0

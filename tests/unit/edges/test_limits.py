"""Rates that are kept to, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.edges.limits import PerSource, Shares, TokenBucket
from rolecall.testing.fake_clock import FakeClock


@given(
    rate=st.sampled_from([0.1, 1.0, 3.0, 50.0]),
    burst=st.integers(1, 20),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.3, 1.0, 60.0]), max_size=60),
)
def test_in_no_span_of_time_is_more_let_through_than_rate_and_burst_allow(
    rate: float, burst: int, pauses: list[float]
) -> None:
    """For every two moments: at most burst, and rate times the seconds between them. And never less than could be."""

    async def scene() -> None:
        clock = FakeClock()
        bucket = TokenBucket(rate=rate, burst=burst, clock=clock)
        taken: list[float] = []
        refused = 0
        for pause in pauses:
            await clock.advance(pause)
            if bucket.take():
                taken.append(clock.monotonic())
            else:
                refused += 1
                assert 0 < bucket.wait() <= 1 / rate + 1e-9
                assert len(taken) >= burst, "a bucket begins full"
        for first, start in enumerate(taken):
            for last, end in enumerate(taken[first:], first):
                assert last - first + 1 <= burst + rate * (end - start) + 1e-6

    asyncio.run(scene())


def test_waiting_as_long_as_it_says_is_enough() -> None:
    """`wait` is the time until `take` succeeds, though the sum of floats be a hair short."""

    async def scene() -> None:
        clock = FakeClock()
        bucket = TokenBucket(rate=3.0, burst=1, clock=clock)
        for _ in range(1000):
            assert bucket.take()
            assert not bucket.take()
            await clock.advance(bucket.wait())

    asyncio.run(scene())


def test_a_wall_clock_that_is_set_fills_no_bucket() -> None:
    """Rates are measured in monotonic time."""
    clock = FakeClock()
    bucket = TokenBucket(rate=1.0, burst=1, clock=clock)
    assert bucket.take()
    clock.step(1e9)
    assert not bucket.take()


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.5)])
def test_a_bucket_that_could_never_give_is_an_error(rate: float, burst: float) -> None:
    """Said when it is made."""
    with pytest.raises(ValueError, match="bucket"):
        TokenBucket(rate=rate, burst=burst, clock=FakeClock())


def test_each_source_has_a_bucket_of_its_own_and_few_are_remembered() -> None:
    """A flooding neighbour stops itself only; of many sources the one quiet longest is forgotten."""
    sources = PerSource(rate=1.0, burst=2.0, clock=FakeClock(), most_sources=3)
    assert [sources.take("flood") for _ in range(4)] == [True, True, False, False]
    assert sources.take("neighbour")
    for n in range(2):
        assert not sources.take("flood"), "being refused keeps it remembered"
        assert sources.take(f"other-{n}")
    assert len(sources) == 3
    assert not sources.take("flood")


def test_what_is_taken_in_advance_is_paid_for_in_ten_seconds() -> None:
    """However long a flood was, it costs its address no more than that after its end."""
    clock = FakeClock()
    bucket = TokenBucket(rate=10.0, burst=2.0, clock=clock)
    waits = [bucket.reserve() for _ in range(500)]
    assert waits[:3] == [0.0, 0.0, pytest.approx(0.1)]
    assert waits[-1] == pytest.approx(10.0)
    asyncio.run(clock.advance(10.1))
    assert bucket.take()


def test_shares_are_bounded_for_each_and_in_all() -> None:
    """What would be too much changes nothing; less is always possible; nothing is remembered of who has nothing."""
    shares = Shares(most=100, of_one=60)
    assert shares.change("a", 60)
    assert not shares.change("a", 1)
    assert not shares.change("b", 41)
    assert shares.change("b", 40)
    assert not shares.change("c", 1)
    assert shares.change("a", -10)
    assert shares.change("c", 10)
    assert (shares.total, len(shares)) == (100, 3)
    for source, taken in {"a": 50, "b": 40, "c": 10}.items():
        assert shares.change(source, -taken)
    assert (shares.total, len(shares)) == (0, 0)

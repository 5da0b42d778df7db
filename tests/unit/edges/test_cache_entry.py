"""Entries against the plain model of an LRU: a list that every use is put to the end of."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.core.freshness import Milestones
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_entry import Entries, Entry
from rolecall.edges.cache_rules import CacheRules
from rolecall.edges.flights import Key, key_of
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource, issued

SIZE = 4
STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "ask", "renew", "forget"]), st.integers(0, 6)),
    min_size=40,
    max_size=60,
)


@settings(max_examples=100)
@given(STEPS)
def test_the_one_unused_longest_goes_first(steps: list[tuple[str, int]]) -> None:
    """Whatever was asked for, renewed and forgotten in between; a renewal is not a use."""
    clock = FakeClock()
    cache = CredentialCache(FakeSource(clock), clock=clock, dice=lambda: 0.0, rules=CacheRules(size=SIZE))
    entries, model = cache._entries, OrderedDict[Key, None]()
    for what, number in steps:
        ask = Ask(token=Secret(f"token-{number}"))
        key = key_of(ask)
        held = entries.get(key)
        if what == "forget":
            cache.forget([key])
            model.pop(key, None)
        elif held is None and what == "ask":
            cache._put(entry(ask, 0), clock.monotonic() + 1800.0)
            model[key] = None
        elif held is not None and what == "renew":
            cache._put(entry(ask, held.used_at), clock.monotonic() + 1800.0)
        elif held is not None:
            assert cache.use(held)
            model.move_to_end(key)
        while len(model) > SIZE:
            model.popitem(last=False)
        assert set(entries) == set(model)
        assert [one.key for one in entries.by_use()] == list(model)


def entry(ask: Ask, used_at: int) -> Entry:
    """Return an entry that lives for an hour of a clock that stands still."""
    now = FakeClock().now()
    times = Milestones(now + 1800.0, now + 3000.0, now + 3590.0, now + 3600.0)
    return Entry(key_of(ask), ask, issued("s", now + 3600.0), times, times.dead_at, 3590.0, used_at=used_at)


def test_what_was_replaced_or_dropped_is_over() -> None:
    """Whoever still has it does not serve it."""
    ask = Ask(token=Secret("t"))
    gone: list[Key] = []
    entries = Entries(gone.append)
    first, second = entry(ask, 1), entry(ask, 1)
    entries.put(first)
    entries.put(second)
    now = FakeClock().now()
    assert (first.is_over(now, 0.0), second.is_over(now, 0.0), gone) == (True, False, [])
    entries.drop(second.key)
    assert (second.is_over(now, 0.0), gone) == (True, [second.key])

"""When a held credential is renewed, when it is stale, and that it is never served once it is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.freshness import FreshnessRules, State, milestones, state

HOUR = 3600.0
T0 = 1_790_000_000.0
ORDER = [State.FRESH, State.RENEW, State.STALE, State.DEAD]

RULES = st.builds(
    FreshnessRules,
    renewal_ttl=st.floats(0, 1e6),
    stale_left=st.floats(0, 1e5),
    stale_share=st.floats(0, 1),
    floor_left=st.floats(0, 1e5),
    floor_share=st.floats(0, 1),
    jitter=st.floats(0, 1),
)
LIVES = st.floats(-1e4, 1e6)
DICE = st.floats(0, 1)


@given(RULES, LIVES, DICE)
def test_milestones_are_in_order(rules: FreshnessRules, life: float, dice: float) -> None:
    """renew <= stale <= dead <= expiry, whatever the rules, the life and the dice."""
    marks = milestones(T0, T0 + life, rules, dice)
    assert marks.renew_at <= marks.stale_at <= marks.dead_at <= marks.expires_at == T0 + life
    assert marks.renew_at >= min(T0, T0 + life)


@given(RULES, LIVES, DICE, st.floats(0, 1e7))
def test_never_served_past_expiry(rules: FreshnessRules, life: float, dice: float, later: float) -> None:
    """At the second of expiry and ever after it is dead, and a dead one is not served."""
    found = state(T0, T0 + life, T0 + life + later, rules, dice)
    assert found is State.DEAD
    assert not found.served


@given(RULES, LIVES, DICE, st.lists(st.floats(-1e4, 2e6), min_size=2, max_size=6).map(sorted))
def test_states_only_go_forward(rules: FreshnessRules, life: float, dice: float, moments: list[float]) -> None:
    """As time passes a credential never becomes fresher."""
    found = [ORDER.index(state(T0, T0 + life, T0 + moment, rules, dice)) for moment in moments]
    assert found == sorted(found)


@given(st.floats(1, 1e6), DICE)
def test_the_dice_only_move_renewal_earlier(life: float, dice: float) -> None:
    """At most a tenth of the wait, and nothing else moves."""
    plain, thrown = milestones(T0, T0 + life), milestones(T0, T0 + life, dice=dice)
    assert T0 + (plain.renew_at - T0) * 0.9 - 1e-3 <= thrown.renew_at <= plain.renew_at
    assert (thrown.stale_at, thrown.dead_at) == (plain.stale_at, plain.dead_at)


@pytest.mark.parametrize("dice", [-1.0, 2.0, float("inf")])
def test_loaded_dice(dice: float) -> None:
    """Numbers outside of 0 to 1 count as the nearer of the two."""
    assert milestones(T0, T0 + HOUR, dice=dice) == milestones(T0, T0 + HOUR, dice=0.0 if dice < 0 else 1.0)


# aws-pod-identity.md §1.6: served with more than 15 s left; renewed after 3 h; and what ours does better:
# one of 59 minutes is renewed at half its life, not at its end, so that SDKs (which ask again 15 or 10
# minutes before expiry, sdk-clients.md) never see an old one.
AWS_TABLE = [
    pytest.param(6 * HOUR, 0, State.FRESH, id="6h-new"),
    pytest.param(6 * HOUR, 3 * HOUR - 1, State.FRESH, id="6h-before-renewal"),
    pytest.param(6 * HOUR, 3 * HOUR, State.RENEW, id="6h-renewal"),
    pytest.param(6 * HOUR, 6 * HOUR - 1201, State.RENEW, id="6h-last-calm-second"),
    pytest.param(6 * HOUR, 6 * HOUR - 1200, State.STALE, id="6h-stale"),
    pytest.param(6 * HOUR, 6 * HOUR - 16, State.STALE, id="6h-sixteen-seconds-left"),
    pytest.param(6 * HOUR, 6 * HOUR - 15, State.DEAD, id="6h-fifteen-seconds-left"),
    pytest.param(12 * HOUR, 3 * HOUR, State.RENEW, id="12h-renewal"),
    pytest.param(59 * 60, 29.5 * 60 - 1, State.FRESH, id="59min-before-half"),
    pytest.param(59 * 60, 29.5 * 60, State.RENEW, id="59min-half"),
    pytest.param(59 * 60, 44.25 * 60, State.STALE, id="59min-last-quarter"),
    pytest.param(59 * 60, 59 * 60 - 16, State.STALE, id="59min-sixteen-seconds-left"),
    pytest.param(59 * 60, 59 * 60 - 15, State.DEAD, id="59min-fifteen-seconds-left"),
    pytest.param(20, 9, State.FRESH, id="20s-new"),
    pytest.param(20, 10, State.RENEW, id="20s-half"),
    pytest.param(20, 15, State.STALE, id="20s-last-quarter"),
    pytest.param(20, 17.9, State.STALE, id="20s-still-served"),
    pytest.param(20, 18, State.DEAD, id="20s-last-tenth"),
    pytest.param(6 * HOUR, -60, State.FRESH, id="clock-went-back"),
    pytest.param(0, 0, State.DEAD, id="no-life"),
    pytest.param(-5, -5, State.DEAD, id="expired-when-issued"),
]


@pytest.mark.parametrize(("life", "age", "expected"), AWS_TABLE)
def test_table(life: float, age: float, expected: State) -> None:
    """The state of a credential of that life at that age, by the default rules."""
    assert state(T0, T0 + life, T0 + age) is expected


def test_what_is_served() -> None:
    """Fresh, due and stale ones are; nothing and dead ones are not."""
    assert {found for found in State if found.served} == {State.FRESH, State.RENEW, State.STALE}
    assert state(None, None, T0) is state(T0, None, T0) is state(None, T0, T0) is State.MISS

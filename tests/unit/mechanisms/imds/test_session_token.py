"""Session tokens: whose they are, and how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.secrets import Secret
from rolecall.mechanisms.imds.session_token import mint, seconds_left

KEY = Secret("k")
SOURCES = st.text(max_size=40)


@given(SOURCES, SOURCES, st.floats(0, 4e9), st.integers(1, 21_600))
def test_a_token_is_good_for_whoever_asked(source: str, other: str, now: float, ttl: int) -> None:
    """For no longer than it says, for nobody else, and under no other key."""
    token = mint(KEY, source, now=now, ttl=ttl).reveal()
    assert ttl - 1 <= seconds_left(KEY, source, token, now=now) <= ttl
    assert seconds_left(KEY, source, token, now=now + ttl) == 0
    assert other == source or seconds_left(KEY, other, token, now=now) == 0
    assert seconds_left(Secret("l"), source, token, now=now) == 0


@given(st.text(max_size=60) | st.text(alphabet="ABCabc019-_=", min_size=56, max_size=56))
def test_no_other_text_is_a_token(token: str) -> None:
    """Of whatever form."""
    assert seconds_left(KEY, "10.0.0.7", token, now=0) == 0


@given(st.integers(0, 55), st.sampled_from("ABab01-_"))
def test_no_letter_can_be_another(at: int, letter: str) -> None:
    """The end is signed like everything else."""
    token = mint(KEY, "10.0.0.7", now=0, ttl=60).reveal()
    assert len(token) == 56
    changed = token[:at] + letter + token[at + 1 :]
    assert changed == token or seconds_left(KEY, "10.0.0.7", changed, now=0) == 0

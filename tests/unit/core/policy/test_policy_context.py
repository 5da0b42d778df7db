"""The request context as a value."""

from __future__ import annotations

from rolecall.core.policy.context import RequestContext


def test_names_ignore_case() -> None:
    """Reading, testing and merging all fold names."""
    context = RequestContext.of({"aws:PrincipalTag/Team": "Red"}, {"aws:TagKeys": ["a", "b"]})
    assert context["AWS:principaltag/TEAM"] == "Red"
    assert context.get("aws:tagkeys") == ("a", "b")
    assert "AWS:TAGKEYS" in context
    assert 7 not in context
    assert len(context) == 2


def test_the_right_side_of_a_merge_wins() -> None:
    """And neither side changes."""
    left = RequestContext.of({"aws:a": "1", "aws:b": "1"})
    right = RequestContext.of({"AWS:A": "2"})
    assert dict(left | right) == {"aws:a": "2", "aws:b": "1"}
    assert dict(left.with_({"aws:c": "3"}, {"aws:b": []})) == {"aws:a": "1", "aws:b": (), "aws:c": "3"}
    assert dict(left) == {"aws:a": "1", "aws:b": "1"}


def test_missing_empty_text_and_empty_set_differ() -> None:
    """Three different things."""
    context = RequestContext.of({"aws:text": ""}, {"aws:set": []})
    assert [context.get(name) for name in ("aws:none", "aws:text", "aws:set")] == [None, "", ()]


def test_equal_contexts_are_equal() -> None:
    """Equality and hashing are by content."""
    one, other = RequestContext.of({"aws:A": "1"}), RequestContext.of({"aws:a": "1"})
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == "RequestContext({'aws:a': '1'})"

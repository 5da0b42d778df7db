"""Wildcards and principals."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.match import (
    ActionPatterns,
    Matcher,
    Pattern,
    PrincipalMatch,
    Principals,
    Requester,
    compile_glob,
)
from rolecall.core.policy.variables import Wild, parse_template


def slow_match(pattern: str, text: str) -> bool:
    """The definition of a wildcard match, straight from its words; exponential in the number of stars."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(slow_match(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and (pattern[0] in {"?", text[0]}) and slow_match(pattern[1:], text[1:])


def glob(pattern: str) -> Matcher:
    """Return the matcher of a pattern without variables."""
    atoms = parse_template(pattern, variables=False, wildcards=True).expand(RequestContext())
    assert atoms is not None
    return compile_glob(atoms)


@settings(max_examples=600, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=9))
def test_glob_agrees_with_the_definition(pattern: str, text: str) -> None:
    """Small alphabets make near matches likely."""
    assert glob(pattern)(text) is slow_match(pattern, text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_text_matches_itself_when_it_is_literal(text: str) -> None:
    """Any text, substituted literally, matches itself, stars and supplementary characters included."""
    assert compile_glob((text,))(text)
    assert compile_glob((Wild.MANY, text, Wild.MANY))("x" + text + "y")


@settings(max_examples=200, deadline=None)
@given(st.text("ab*?:/", max_size=10), st.text("ab:/", max_size=10))
def test_a_substituted_value_is_never_a_pattern(value: str, text: str) -> None:
    """``${tag}`` matches exactly the value of the tag."""
    pattern = Pattern(parse_template("${aws:PrincipalTag/t}", variables=True, wildcards=True))
    assert pattern.matches(text, RequestContext.of({"aws:principaltag/T": value})) is (text == value)


def test_many_stars_are_no_trap() -> None:
    """A pattern that would take a backtracking matcher for ever; the test's own time limit is the judge."""
    assert not glob("*a" * 2_000 + "*b")("a" * 20_000)
    assert not glob("*a?" * 500 + "*b")("a" * 5_000)


def test_question_marks_count_utf16_units() -> None:
    """Measured on AWS: U+10400 is matched by ``??``, not by ``?``, and literally by itself."""
    assert not glob("?")("𐐀")
    assert glob("??")("𐐀")
    assert glob("x𐐀*")("x𐐀y")


def test_actions_are_matched_in_lower_case() -> None:
    """Patterns are folded when they are prepared; the caller folds the action once."""
    assert ActionPatterns(["STS:Assume*"]).cover("sts:assumerole")
    assert not ActionPatterns(["STS:Assume*"], negated=True).cover("sts:assumerole")


def test_a_web_identity_is_named_by_its_provider_alone() -> None:
    """Neither its account nor the star means it."""
    web = Requester("", "123456789012", "web-identity", provider_arn="arn:aws:iam::123456789012:oidc-provider/x")
    accounts = frozenset({("", "123456789012"), ("aws", "123456789012")})
    assert Principals(everyone=True, accounts=accounts).match(web) is PrincipalMatch.NO
    assert Principals(providers=frozenset({web.provider_arn or ""})).match(web) is PrincipalMatch.DIRECT


def test_a_service_without_an_account_is_not_in_one() -> None:
    """An empty account matches no account principal."""
    service = Requester("", "", "service", service="pods.eks.amazonaws.com")
    assert Principals(accounts=frozenset({("", "")})).match(service) is PrincipalMatch.NO

"""The canonical form of a path: the spellings by which the older proxies were fooled, and what holds for all."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.errors import BadInput
from rolecall.mechanisms.imds.path import LONGEST, canonical


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/latest", "/latest"),
        ("/latest/", "/latest/"),
        ("/latest/meta-data/?x=/../y", "/latest/meta-data/"),
        ("/%6Catest/a%3Ab", "/latest/a:b"),
        ("/a+b,c=d@e._-~!$&'()*", "/a+b,c=d@e._-~!$&'()*"),
        ("/...", "/..."),
        ("/.a/..b/c..", "/.a/..b/c.."),
    ],
)
def test_good(target: str, path: str) -> None:
    """One decoding, and nothing else changes (RFC 3986 §2.1, §3.3)."""
    assert canonical(target) == path


@pytest.mark.parametrize(
    "target",
    [
        "", "*", "latest", "?", "http://169.254.169.254/latest/", "//latest", "/latest//x", "/x/../latest", "/x/..",
        "/./x", "/x/.", "/x/%2e%2e/y", "/x/%2E/y", "/x/.%2e", "/x%2Fy", "/x%2fy", "/x%5Cy", "/x\\y", "/x%3Fy", "/x%23y",
        "/x#y", "/x%25y", "/x%2565y", "/x%252e%252e", "/x%", "/x%4", "/x%zz", "/x;y", "/x%3By", "/x%00", "/x\0", "/x y",
        "/x%20y", "/x%0d%0a", "/x\n", "/é", "/x%C3%A9", "/x%80", "/x\"", "/<x>", "/x^", "/x|y", "/{x}", "/`",
        "/" + "x" * LONGEST,
    ],
)  # fmt: skip
def test_refused(target: str) -> None:
    """What could be read in two ways is read in none (requirement R-7)."""
    with pytest.raises(BadInput):
        canonical(target)


TARGETS = st.text(alphabet="/.%25eEfF?;#\\aZ9-_~:@é \0", max_size=24).map(lambda text: "/" + text)


@given(TARGETS)
def test_it_is_idempotent(target: str) -> None:
    """A canonical path is its own canonical path: whoever decodes again finds nothing."""
    try:
        path = canonical(target)
    except BadInput:
        return
    assert canonical(path) == path
    assert unquote(path) == path
    segments = path[1:].removesuffix("/").split("/")
    assert path == "/" or not {"", ".", ".."}.intersection(segments)


@given(st.lists(st.text(alphabet="abZ09._~-:@=,+", min_size=1, max_size=8), min_size=1, max_size=5))
def test_every_spelling_of_a_good_path_is_that_path(segments: list[str]) -> None:
    """However its characters are encoded (urllib is the other side)."""
    path = "/" + "/".join(segments)
    if {".", ".."} & {*segments}:
        return
    assert canonical(path) == canonical(quote(path, safe="/")) == path

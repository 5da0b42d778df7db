"""Links lead somewhere: in every Markdown file, and every path of this repository that a file names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from house.source import Finding, report, tracked

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_ANGLED = re.compile(r"\]\(\s*<([^<>\n]+)>")
_INLINE = re.compile(r"\]\(\s*([^()\s<>]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+[\"'(][^\n]*?[\"')])?\s*\)")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]^][^\]]*\]:\s*<?([^\s>]+)", re.MULTILINE)
_HTML = re.compile(r"<(?:a|img|source)\s[^>]*?(?:href|src|srcset)=[\"']([^\"'\s]+)")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_ANCHOR = re.compile(r"<a\s[^>]*?(?:id|name)=[\"']([^\"']+)")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")
# A path of this repository, named in a text: a page of the docs, an example, a test, a tool.
_NAMED = re.compile(
    r"(?<![\w./<>{}*-])((?:docs|examples|tests|tools|bench|deploy|src)/[\w./-]+\.(?:md|py|sh|mjs|go))\b"
)


def dead_links(files: Mapping[str, str]) -> Iterator[Finding]:
    """Find relative links to a file that is not tracked, and to a heading that is not there."""
    places = _places(files)
    for path, text in files.items():
        if not path.endswith(".md"):
            continue
        for line, target in _links(text):
            if _SCHEME.match(target):
                continue
            file, _, anchor = target.partition("#")
            there = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(file))) if file else path
            if file.startswith("/") or there not in places:
                yield Finding(path, line, f"{target} leads nowhere")
            elif anchor and there.endswith(".md") and unquote(anchor) not in _anchors(files[there]):
                yield Finding(path, line, f"{target}: no such heading")


def dead_names(files: Mapping[str, str]) -> Iterator[Finding]:
    """Find paths of this repository that a text names, and that are not there."""
    places = _places(files)
    for path, text in files.items():
        if path.startswith(("tests/house/", "tests/corpus/")):  # they name files that they plant
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            yield from (
                Finding(path, number, f"{name} is not there") for name in _NAMED.findall(line) if name not in places
            )


def _places(files: Mapping[str, str]) -> set[str]:
    """Return the files and the directories they are in: what a fresh clone has."""
    places = {"."}
    for path in files:
        while path and path not in places:
            places.add(path)
            path = posixpath.dirname(path)  # noqa: PLW2901 - up and up
    return places


def _links(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and target of every link; code is no link."""
    without_code = _SPAN.sub(_blank, _FENCE.sub(_blank, text))
    for pattern in (_ANGLED, _INLINE, _DEFINITION, _HTML):
        for found in pattern.finditer(without_code):
            if found[1]:
                yield without_code.count("\n", 0, found.start(1)) + 1, found[1]


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings, and those written by hand."""
    without_code = _FENCE.sub(_blank, text)
    anchors: set[str] = set(_ANCHOR.findall(without_code))
    for heading in _HEADING.findall(without_code):
        title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        count = 0
        while (unique := f"{slug}-{count}" if count else slug) in anchors:
            count += 1
        anchors.add(unique)
    return anchors


def test_links_lead_somewhere() -> None:
    """In the house, every relative link of a Markdown file leads to a file that a fresh clone has."""
    found = list(dead_links(tracked()))
    assert not found, report(found)


def test_named_paths_are_there() -> None:
    """In the house, a path that code or text names is there."""
    found = list(dead_names(tracked()))
    assert not found, report(found)


def test_planted_dead_links_are_found() -> None:
    """Each way to write a link, to files and to headings; what is code or elsewhere is no link of ours."""
    files = {
        "README.md": "# The `door`, again\n# Twice\n# Twice\n",
        "docs/page.md": "\n".join(
            [
                "[ok](../README.md) [ok](../README.md#the-door-again) [ok](../README.md#twice-1)",
                "[ok](#here) [ok](../src) [ok](https://example.com/x.md) [ok](mailto:a@b) `[code](no.md)`",
                "[ok](<with space.md>)",
                "```sh",
                "[code](no.md)",
                "# no heading",
                "```",
                "## Here",
                "[a](gone.md)",
                '[b](../gone.md "title")',
                "![c](gone.png)",
                "[d](../README.md#gone)",
                "[e](#no-heading)",
                "[f](/README.md)",
                "[g][ref] text",
                "[ref]: gone-too.md",
                '<a href="gone.html">h</a>',
                "[i](../../outside.md)",
                "[j](<no space.md>)",
            ]
        ),
        "docs/with space.md": "",
        "src/a.py": "",
    }
    lines = [finding.line for finding in dead_links(files)]
    assert sorted(lines) == [9, 10, 11, 12, 13, 14, 16, 17, 18, 19]


def test_planted_dead_names_are_found() -> None:
    """A path in code, in a comment, in a page; not one that is a part of another."""
    gone = "/".join(["docs", "gone.md"])
    files = {
        "docs/there.md": "",
        "src/a.py": f"# see {gone}\nx = 'docs/there.md'\n",
        "b.md": f"`{gone}#x` and other/{gone} and {{place}}/{gone} and docs/there.md.\n",
    }
    assert [(finding.path, finding.line) for finding in dead_names(files)] == [("src/a.py", 1), ("b.md", 1)]

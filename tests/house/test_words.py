"""No file holds words that have no place in it: a machine's paths, promises for later, names that name nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from house.source import Finding, report, tracked

# What a line must not hold. (The patterns are written so that they do not find themselves.)
WORDS = {
    "a path of somebody's machine": re.compile(r"(?<![\w.:~/})-])/(?:(?:work|root)(?=/)|(?:home|Users)/[A-Za-z_]\w*)"),
    "a promise for later: do it, or open an issue": re.compile(r"\b(?:TO{1}DO|FIX{1}ME)\b"),
    "an index or registry, which is the machine's to configure": re.compile(
        r'"resolved"[:] "http|^--?(?:extra-)?index[-]url\b|^\s*registry\s*=|^\S+ @ https?://'
    ),
}
# Names that say nothing about what is inside (design: Words).
EMPTY_NAMES = {"util", "utils", "common", "manager", "managers", "helper", "helpers"}
_DEFINED = re.compile(r"^\s*(?:class|def|async def)\s+(\w+)")
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def misplaced_words(files: Mapping[str, str]) -> Iterator[Finding]:
    """Find lines that hold one of the words above."""
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), start=1):
            for what, pattern in WORDS.items():
                for found in pattern.findall(line):
                    yield Finding(path, number, f"{found!r}: {what}")


def empty_names(files: Mapping[str, str]) -> Iterator[Finding]:
    """Find files, directories, classes and functions whose names say nothing."""
    for path, text in files.items():
        if EMPTY_NAMES & {part.lower() for part in re.split(r"[/._-]", path)}:
            yield Finding(path, 1, "a name that says nothing")
        for number, line in enumerate(text.splitlines() if path.endswith(".py") else (), start=1):
            defined = _DEFINED.match(line)
            if defined and EMPTY_NAMES & {part.lower() for part in _PARTS.findall(defined[1])}:
                yield Finding(path, number, f"{defined[1]}: a name that says nothing")


def test_no_misplaced_words() -> None:
    """In the house, files read the same on every machine and promise nothing."""
    assert len(tracked()) > 100
    found = list(misplaced_words(tracked()))
    assert not found, report(found)


def test_no_empty_names() -> None:
    """In the house, a name says what is inside."""
    found = list(empty_names(tracked()))
    assert not found, report(found)


def test_planted_words_are_found() -> None:
    """Each word is seen where it stands for itself, and not inside another."""
    later, fix, home = "TO" + "DO", "FIX" + "ME", "/ho" + "me/"
    violations = {
        "a.md": f"Run it in /{'work'}/main.\n",
        "b.py": f"PLACE = '/{'root'}/.aws'\n",
        "c.sh": f"cd {home}alice\n",
        "d.json": f'{{"path": "/{"Users"}/bob/x"}}\n',
        "e.py": f"x = 1  # {later}: later\n",
        "f.md": f"{fix}(me)\n",
        "package-lock.json": '  "resolved": ' + '"https://registry.example/x.tgz"\n',
        "requirements.lock": "--index" + "-url https://pypi.example/simple\n",
    }
    innocent = {
        "g.py": f"url = 'https://example.com{home}page'\nnet/work/x\nplug{'work'}/x\n/{'root'}ed/x\n",
        "h.md": f"~{home}me, ${{HOME}}{home}x, a{later}b, {later.lower()}, a framework/root/x\n",
        "package-lock.json.md": '"resolved": true, "url": "https://example.com/fund"\n',
    }
    assert {finding.path for finding in misplaced_words(violations | innocent)} == set(violations)


def test_planted_names_are_found() -> None:
    """Files, directories, classes and functions; not words of the text."""
    violations = {
        "src/rolecall/core/utils.py": "",
        "src/rolecall/common/names.py": "",
        "docs/helpers.md": "",
        "tests/unit/test_helper.py": "",
        "src/a.py": "class CredentialManager:\n",
        "src/b.py": "    async def _parse_helper(self):\n",
    }
    innocent = {
        "src/c.py": "common = 1\nfrom email.utils import formatdate\ndef commonly(): ...\nclass Utility: ...\n",
        "docs/d.md": "class Helper: an example\n",
    }
    assert {finding.path for finding in empty_names(violations | innocent)} == set(violations)

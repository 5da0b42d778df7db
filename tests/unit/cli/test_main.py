"""The entry: exit codes, errors without a trace, help that fits a terminal, and a terminal that is not commanded."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall import __version__
from rolecall.cli.main import COMMANDS, cli, main
from rolecall.cli.output import plain

NO_PLANE = [
    ["association", "create", "-n", "a", "-s", "b", "--role-arn", "arn:aws:iam::123456789012:role/x"],
    ["association", "list"],
    ["association", "describe", "a-1"],
    ["association", "update", "a-1", "--role-arn", "x"],
    ["association", "delete", "a-1"],
    ["serviceaccount", "annotate", "-n", "a", "-s", "b", "--role-arn", "arn:aws:iam::123456789012:role/x"],
    ["serviceaccount", "list"],
    ["token", "create", "-n", "a", "-s", "b"],
    ["session", "describe", "ASIA"],
    ["env"],
]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home without any state, and a terminal of 80 columns."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("ROLECALL_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


def rolecall(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line; return its exit code. Whatever else comes out of it would be shown as a trace."""
    monkeypatch.setattr(sys, "argv", ["rolecall", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def all_commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    yield words
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from all_commands(command, (*words, name))
        elif name != "agent":
            yield (*words, name)


@pytest.mark.parametrize("words", [*all_commands(), ("agent",), ("agent", "serve"), ("agent", "status")], ids=" ".join)
def test_help_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Of every command: exit code 0, on standard output, 80 columns, and a sentence of what it is for."""
    assert rolecall(monkeypatch, *words, "--help") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert [line for line in shown.out.splitlines() if len(line) > 80] == []
    assert len(shown.out.splitlines()) > 4
    if words[:1] != ("agent",):
        before, _, _ = shown.out.partition("Options:")
        assert len(before.split("\n", 2)[-1].strip()) > 15, "a description"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("bogus",), "No such command 'bogus'"),
        (("association", "bogus"), "No such command 'bogus'"),
        (("association", "list", "--bogus"), "No such option"),
        (("association", "list", "-o", "yaml"), "'yaml' is not one of 'table', 'json'"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
        (("agent", "serve"), "cluster-name"),
        (("agent", "status", "--bogus"), "No such option"),
        (("agent", "serve", "-c", "x", "--port", "70000"), "not a port"),
        (("token", "decode", "/nonexistent"), "No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_words_that_mean_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    """Exit code 2, what was wrong, and where help is."""
    assert rolecall(monkeypatch, *words) == 2
    shown = capsys.readouterr()
    assert (shown.out, told in shown.err) == ("", True), shown.err


@pytest.mark.parametrize("words", NO_PLANE, ids=lambda words: " ".join(words[:2]))
def test_without_a_plane(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], tmp_path: Path
) -> None:
    """Exit code 2; where it was looked for, and how one is started; nothing is made."""
    assert rolecall(monkeypatch, *words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"rolecall: no rolecall dev is running on {tmp_path}/.local/state/rolecall\n")
    assert "rolecall dev" in shown.err.splitlines()[1]
    assert "--state-dir" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_run_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """125, as `docker run` and `env` have it, and 127 for a program that is not there, plane or not."""
    assert rolecall(monkeypatch, "run", "-n", "a", "-s", "b", "--", "true") == 125
    assert rolecall(monkeypatch, "run", "--bogus") == 125
    assert rolecall(monkeypatch, "run", "-n", "a", "-s", "b", "--", "no-such-program") == 127
    assert capsys.readouterr().out == ""


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As a command and as a flag."""
    for words in (("version",), ("--version",), ("-V",)):
        assert rolecall(monkeypatch, *words) == 0
        assert capsys.readouterr().out == f"rolecall {__version__}\n"
    assert rolecall(monkeypatch, "version", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__


def test_commands_are_listed_in_the_order_of_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by the alphabet: what a newcomer needs first is first."""
    rolecall(monkeypatch, "--help")
    listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines() if line[2] != " "] == list(COMMANDS)


def part(value: object) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the token is empty"),
        (b"\n \n", "the token is empty"),
        (b"a.b", "three parts"),
        (bytes(range(256)), "token"),
        (b"\xff\xfe.\x00.\x00", "base64url"),
        (b"x" * 3_000_000, "longer than"),
        (b"e30.W10.", "not a JSON object"),
        (b"e30.e30=.x", "base64url"),
    ],
    ids=range(8),
)
def test_what_is_no_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, told: str
) -> None:
    """A sentence, exit code 2, and nothing of it is repeated."""
    file = tmp_path / "token"
    file.write_bytes(content)
    assert rolecall(monkeypatch, "token", "decode", str(file)) == 2
    shown = capsys.readouterr()
    assert (shown.out, told in shown.err) == ("", True), shown.err
    assert len(shown.err) < 300


def test_a_hostile_token_does_not_command_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its names, texts and nested values are shown with their control characters escaped; times in words."""
    evil = "\x1b]0;owned\x07\x9b2J\u202egpj\r\n"
    file = tmp_path / "token"
    claims = {"iss": evil, evil: 1, "nested": {"a": [evil, None, True]}, "exp": 0, "nbf": 1e300, "iat": "soon"}
    file.write_text(f"{part({'alg': evil})}.{part(claims)}.c2lnbmF0dXJl")
    assert rolecall(monkeypatch, "token", "decode", str(file)) == 0
    shown = capsys.readouterr().out
    assert all(letter.isprintable() for letter in shown.replace("\n", ""))
    assert "\\x1b]0;owned\\x07" in shown
    assert "exp: 0  (1970-01-01 00:00:00 UTC)" in shown
    assert shown.count("(not a time)") == 2
    assert "c2lnbmF0dXJl" not in shown
    assert "signature" not in shown
    assert len(shown.splitlines()) == 2 + 1 + len(claims)


@given(st.text())
def test_plain_text_is_printable(text: str) -> None:
    """Always, and it is the text itself where that was printable."""
    shown = plain(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, click.Abort, EOFError])
def test_ctrl_c_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: type[BaseException]
) -> None:
    """128 + SIGINT, without a trace."""

    def interrupted(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("rolecall.cli.version.version.callback", interrupted)
    assert rolecall(monkeypatch, "version") == 130
    assert capsys.readouterr().err.strip() == ""

"""The command lines of AWS's agent, under its name and under ours; and the table that says what becomes of each flag.

The flags are those of ``eks-pod-identity-agent server`` (aws-pod-identity.md §1.1), the exit code that of cobra and
log.Fatal there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rolecall.daemons.agent import drop_in
from rolecall.daemons.agent.build import build
from rolecall.daemons.agent.commands import run
from rolecall.daemons.agent.config import command_line, read_config
from rolecall.daemons.agent.flags import IGNORED, parser
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured
from rolecall.testing.fake_clock import FakeClock

ENV = {"AWS_REGION": "us-west-2"}
AWSS = {
    "-v", "--verbosity", "-c", "--cluster-name", "-p", "--port", "-b", "--bind-hosts", "--probe-port",
    "--metrics-address", "--metrics-port", "--max-credential-retention-before-renewal", "--max-cache-size",
    "--max-service-qps", "--rotate-credentials", "--endpoint", "--enable-imds-credentials",
}  # fmt: skip


REFERENCE = Path(__file__).parents[4] / "docs" / "reference"


def metadata_flags() -> set[str]:
    """Return the flags of the metadata door, out of its own page."""
    text = (REFERENCE / "metadata-door.md").read_text()
    table = text.partition("\n| flag | default | what it does |\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `(--[-a-z]+)`", table, re.MULTILINE))


def rows() -> dict[str, str]:
    """Return what the reference says of each flag: same, better, ignored or ours."""
    text = (REFERENCE / "agent.md").read_text()
    table = text.partition("\n| flag | default | AWS's agent |\n")[2].partition("\n\n")[0]
    found = {}
    for line in table.splitlines()[1:]:
        flags, _, verdict = [cell.strip() for cell in line.strip("|").split("|")]
        for flag in re.findall(r"`(-[-a-z]+)`", flags):
            assert flag not in found
            found[flag] = re.split(r"\W", verdict)[0]
    return found


def test_the_table_says_what_becomes_of_every_flag() -> None:
    """Each of AWS's is same, better or ignored; each of ours is called so; ignored are those that change nothing."""
    said = rows()
    assert said.keys() >= AWSS
    assert {said[flag] for flag in AWSS} == {"same", "better", "ignored"}
    assert {flag for flag in said if said[flag] == "ours"} == said.keys() - AWSS
    assert {flag for flag in said if said[flag] == "ignored"} == IGNORED.keys()


def test_the_table_has_the_parsers_flags() -> None:
    """All of them, and no others."""
    taken = {flag for action in parser()._actions for flag in action.option_strings}
    assert rows().keys() | metadata_flags() == taken - {"-h", "--help", "--exit-with-stdin"}
    assert not rows().keys() & metadata_flags()


@pytest.mark.parametrize(
    ("words", "ignored"),
    [
        (["--rotate-credentials"], ("--rotate-credentials",)),
        (["--rotate-credentials=true", "--enable-imds-credentials=1"], tuple(IGNORED)),
        (["--rotate-credentials=false", "--enable-imds-credentials=F"], ()),
        ([], ()),
    ],
    ids=" ".join,
)
def test_flags_that_change_nothing_are_taken(words: list[str], ignored: tuple[str, ...]) -> None:
    """In each form of a Go flag that is true or false (strconv.ParseBool)."""
    for line in (["server", *words, "-c", "x"], ["server", "-c", "x", *words]):
        assert read_config(line, ENV).ignored == ignored


def test_a_switch_is_true_or_false() -> None:
    """As Go has it; "yes" is neither."""
    with pytest.raises(Misconfigured, match="'yes' is neither true nor false"):
        read_config(["server", "-c", "x", "--rotate-credentials=yes"], ENV)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["server", "-c", "initialize"], "server"),
        (["-v", "debug", "initialize"], "initialize"),
        (["-v=debug", "initialize"], "initialize"),
        (["-vdebug", "initialize"], "initialize"),
        (["--verbosity", "initialize", "server"], "server"),
        (["--verbosity=info", "--verbosity", "error", "version"], "version"),
        (["-c", "initialize", "server"], "-c"),
        (["-v"], ""),
        ([], ""),
    ],
    ids=" ".join,
)
def test_the_command_is_found(words: list[str], command: str) -> None:
    """Behind the global flag, which may stand in front of it; a cluster may be called like a command."""
    assert command_line(words) == (command, words)


def test_each_command_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What is neither initialize nor version goes to the server, which knows what it does not know."""
    served: list[list[str]] = []

    def serve(words: list[str]) -> int:
        served.append(words)
        return 0

    for words in (["server", "-c", "x"], ["-c", "initialize", "server"], ["bogus"], []):
        assert run(words, serve) == 0
        assert served.pop() == words
    assert run(["version"], serve) == 0
    assert re.fullmatch(r"rolecall agent \d+\.\d+\.\d+\n", capsys.readouterr().out)
    with pytest.raises(Misconfigured, match="unrecognized arguments: --port"):
        run(["initialize", "--port", "1"], serve)
    assert served == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bogus"], 'unknown command "bogus" for "eks-pod-identity-agent"'),
        (["server"], 'required flag(s) "cluster-name" not set'),
        (["server", "-c", "x", "-v", "loud"], "Invalid logging verbosity: loud"),
        (["server", "-c", "x", "-b", "0.0.0.0"], 'refusing to bind credential server to non-node-local host "0.0.0.0"'),
        (["server", "--cluster-name", "x", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["initialize", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_fault_ends_with_1(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS's sentence where there is one, and a next step."""
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert drop_in.main(words) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"Error: {told}")
    assert second.startswith("  ")


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]], ids=" ".join)
def test_help_and_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Cobra shows the help and ends with 0; the version has the original's form."""
    assert drop_in.main(words) == 0
    assert "server --cluster-name NAME" in capsys.readouterr().out
    assert drop_in.main(["version"]) == 0
    assert re.fullmatch(r"EKS Pod Identity Agent version \S+\n", capsys.readouterr().out)


def test_the_bundle_of_authorities(tmp_path: Path) -> None:
    """AWS_CA_BUNDLE, which the chart sets in isolated regions, is what calls are made with; empty is unset."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIANODE", "AWS_SECRET_ACCESS_KEY": "x"}
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n")
    for value, expected in ((str(bundle), bundle), ("", None)):
        config = read_config(["server", "-c", "x"], ENV | keys | {"AWS_CA_BUNDLE": value})
        agent = build(config, FakeClock(), Log())
        agent.http.close()
        assert agent.http.tls.files.ca == expected


@pytest.mark.parametrize(("content", "told"), [(None, "No such file"), (b"", "no certificate"), (b"\xff", "no cert")])
def test_a_bundle_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    """At the start, by name: not at the first call, with a pod waiting."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(Misconfigured, match=told) as refused:
        read_config(["server", "-c", "x"], ENV | {"AWS_CA_BUNDLE": str(bundle)})
    assert "AWS_CA_BUNDLE" in refused.value.message
    assert str(bundle) in refused.value.message

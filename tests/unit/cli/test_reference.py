"""The reference names every command and every flag, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rolecall.cli.main import cli
from rolecall.daemons.agent.flags import parser
from rolecall.daemons.controller.flags import parser as flags_of_controller
from rolecall.daemons.local_aws import iam
from rolecall.daemons.webhook.flags import parser as flags_of_webhook

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"


def commands(group: click.Group, path: str = "rolecall") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_command_and_flag_is_there() -> None:
    """A flag that is not documented does not exist for the operator who needs it."""
    text = (REFERENCE / "command-line.md").read_text()
    for words, command in commands(cli):
        _, noun, *verb = words.split()
        assert f"rolecall {noun}" in text, words
        assert not verb or f"| `{verb[0]}` |" in text, words
        for parameter in command.params:
            if isinstance(parameter, click.Option) and "--output" not in parameter.opts:
                assert f"`{parameter.opts[-1]}`" in text or f"`{parameter.opts[0]}`" in text, (words, parameter.opts)


def test_no_flag_is_made_up() -> None:
    """What the reference names is taken by some command."""
    known = {
        flag
        for _, command in commands(cli)
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    named = set(re.findall(r"`(--[a-z-]+)`", (REFERENCE / "command-line.md").read_text()))
    assert named - known <= {"--help"}


def test_every_command_teaches_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each says what it does, and of each option what it means."""
    for words, command in commands(cli):
        assert command.help or words == "rolecall agent", words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (words, parameter.opts)


def test_the_agents_flags_are_there() -> None:
    """Those of its own parser, in its reference or in that of its second door."""
    text = (REFERENCE / "agent.md").read_text() + (REFERENCE / "metadata-door.md").read_text()
    for action in parser()._actions:
        for flag in action.option_strings:
            if flag not in {"-h", "--help", "--exit-with-stdin"}:
                assert f"`{flag}`" in text, flag


def test_the_agents_events_are_there() -> None:
    """Whoever finds one in the log of a running agent can look it up."""
    source = Path(__file__).resolve().parents[3] / "src" / "rolecall"
    rooms = [path for path in (source / "daemons" / "agent").glob("*.py") if path.stem != "initialize"]
    files = [*rooms, source / "daemons" / "serving.py"]
    files += [source / "edges" / f"{name}.py" for name in ("cache", "flights", "http_connection", "descriptors")]
    call = re.compile(
        r'\.(?:debug|info|warning|error|crash)\(\s*"([a-z]+\.[a-z0-9_]+)"|(?:write\(|name = )"(agent\.\w+)"'
    )
    written = {one or other for file in files for one, other in call.findall(file.read_text())}
    assert {"agent.serving", "agent.reloaded", "cache.renewal_failed"} <= written
    text = (REFERENCE / "agent.md").read_text()
    assert [event for event in sorted(written) if f"`{event}`" not in text] == []


def test_the_agents_metrics_are_there() -> None:
    """Every family by its name, and none that does not exist."""
    source = (Path(__file__).resolve().parents[3] / "src/rolecall/daemons/agent/metrics.py").read_text()
    families = set(re.findall(r'"((?:rolecall|pod_identity)_\w+)"', source))
    assert len(families) > 20
    text = (REFERENCE / "agent.md").read_text()
    assert {*re.findall(r"`((?:rolecall|pod_identity)_\w+)[`{]", text)} == families


def test_the_webhooks_flags_events_and_metrics_are_there() -> None:
    """All that the process takes, writes and counts, and nothing that does not exist."""
    text = (REFERENCE / "webhook-server.md").read_text()
    flags = {flag for action in flags_of_webhook()._actions for flag in action.option_strings if "_" not in flag}
    named = set(re.findall(r"`(--?[a-z][a-z-]*)`", text))
    assert flags - {"-h", "--help"} == named
    room = Path(__file__).resolve().parents[3] / "src/rolecall/daemons/webhook"
    files = [*room.rglob("*.py"), room.parents[1] / "edges" / "certificate_files.py"]
    source = "".join(path.read_text() for path in files)
    written = set(re.findall(r'\.(?:debug|info|warning|error|crash)\(\s*"([a-z_]+\.[a-z0-9_]+)"', source))
    assert {"review.answered", "certificate.shown"} <= written
    events = text[text.index("## Log") :]
    assert set(re.findall(r"`([a-z_]+\.[a-z_]+)`", events)) == written | {"watch.failing", "watch.recovered"}
    families = set(re.findall(r'"((?:rolecall_|pod_identity_|http_request_)\w+)"', (room / "metrics.py").read_text()))
    families -= {f"http_request_latencies_{part}" for part in ("bucket", "sum", "count")}
    assert set(re.findall(r"`((?:rolecall|pod_identity|http_request)_\w+)[`{]", text)) == families


def test_the_controllers_flags_events_and_metrics_are_there() -> None:
    """All that the process takes, writes and counts, and no flag that does not exist."""
    text = (REFERENCE / "controller.md").read_text()
    flags = {flag for action in flags_of_controller()._actions for flag in action.option_strings}
    assert flags - {"-h", "--help", "--no-debug"} == set(re.findall(r"`(--?[a-z][a-z-]*)[`=: ]", text))
    room = Path(__file__).resolve().parents[3] / "src/rolecall/daemons/controller"
    source = "".join(path.read_text() for path in room.rglob("*.py"))
    written = set(re.findall(r'\.(?:info|warning|error|crash)\(\s*"([a-z_]+\.[a-z0-9_]+)"', source))
    assert {"controller.issued", "controller.any_role"} <= written
    assert [event for event in sorted(written) if f"`{event}`" not in text] == []
    families = re.findall(r'"rolecall_controller_(\w+)"', (room / "metrics.py").read_text())
    assert len(families) > 15
    assert [family for family in families if f"`{family}`" not in text] == []


def test_every_iam_operation_is_there() -> None:
    """The plane's page lists what the plane's table has."""
    text = (REFERENCE / "identity-plane.md").read_text()
    assert [name for name in iam.OPERATIONS if not re.search(rf"\b{name}\b", text)] == []

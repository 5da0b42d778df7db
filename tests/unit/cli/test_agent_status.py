"""`rolecall agent status`: what a person sees, what a script can rely on, and a terminal that nobody commands."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from rolecall.cli.agent import agent
from rolecall.daemons.agent import wire
from rolecall.edges.admin_socket import AdminSocket

ENTRY = wire.Entry(
    namespace="team",
    service_account="invoices",
    association="a-1",
    role_session="arn:aws:sts::123456789012:assumed-role/invoices/s",
    peer="10.0.0.7",
    state="renew",
    age_seconds=10_803.2,
    expires="2026-01-02T03:04:05Z",
    ends_in_seconds=125.0,
    renewal="planned",
    renews_in_seconds=9.9,
    last_error="ThrottlingException",
    hits=12,
)
STATUS = wire.Status(
    version="1.2.3",
    uptime_seconds=7_260.0,
    ready=True,
    faults=[],
    doors=["169.254.170.23:80"],
    not_bound={"fd00:ec2::23": "cannot listen on fd00:ec2::23:80"},
    requests_in_flight=0,
    totals=wire.Totals(1, {"renew": 1}, 12, 3, 2, {"ThrottlingException": 4}, 0, 0, {"ok": 3}, {"no-token": 5}),
    entries=[ENTRY],
    entries_not_shown=0,
    signs_with=wire.SignsWith("imds", "http://169.254.169.254", "2026-01-02T03:04:05Z", "it refused"),
)


@contextmanager
def answering(path: Path, body: bytes) -> Iterator[None]:
    """Answer one caller with a body."""
    admin = AdminSocket(path)
    admin.listener.setblocking(True)

    def serve() -> None:
        connection, _ = admin.listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()
    admin.remove()
    admin.listener.close()


def shown(place: Path, status: wire.Status, *flags: str) -> Result:
    """Run the command at a socket that answers with this status."""
    path = place / "s"
    with answering(path, wire.encode(status)):
        return CliRunner().invoke(
            agent, ["status", "--admin-socket", str(path), *flags], standalone_mode=False, catch_exceptions=False
        )


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short path."""
    return tmp_path_factory.mktemp("st")


def test_a_person_sees_lengths_and_errors(place: Path) -> None:
    """Lengths of time in words, what could not be bound, one row for each entry."""
    text = shown(place, STATUS).output
    assert "1.2.3, up 2h01m" in text
    assert "imds: http://169.254.169.254, until 2026-01-02T03:04:05Z; last error: it refused" in text
    assert "cannot listen on fd00:ec2::23:80" in text
    row = text.splitlines()[-1]
    assert row.split() == [
        "team", "invoices", "renew", "3h00m", "2m05s", "in", "9s", "ThrottlingException", "12", "10.0.0.7",
    ]  # fmt: skip


def test_a_script_gets_what_the_agent_said(place: Path) -> None:
    """All of it, as JSON."""
    found = json.loads(shown(place, STATUS, "-o", "json").output)
    assert found == json.loads(msgspec.json.encode(STATUS))


def test_what_is_not_shown_is_said(place: Path) -> None:
    """Nobody takes a thousand rows for all of them."""
    text = shown(place, msgspec.structs.replace(STATUS, entries_not_shown=42)).output
    assert text.splitlines()[-1] == "... and 42 more"


@pytest.mark.parametrize(
    ("changes", "code"),
    [({}, 0), ({"ready": False}, 1), ({"faults": ["the renewer has ended"]}, 1)],
    ids=["fine", "not ready", "broken"],
)
def test_the_exit_code_says_whether_it_is_well(place: Path, changes: dict[str, object], code: int) -> None:
    """0 fine, 1 found something."""
    assert shown(place, msgspec.structs.replace(STATUS, **changes)).return_value == code


def test_no_name_commands_the_terminal(place: Path) -> None:
    """An upstream's words are shown, not obeyed."""
    evil = msgspec.structs.replace(ENTRY, namespace="\x1b[2Jteam", last_error="\x9b31mno")
    text = shown(place, msgspec.structs.replace(STATUS, entries=[evil], faults=["\x1b]0;title\x07"])).output
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "\\x1b[2Jteam" in text

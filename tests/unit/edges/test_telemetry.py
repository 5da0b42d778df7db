"""What is logged: lines that parse, and secrets that nothing shows."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret
from rolecall.edges.telemetry import LEVELS, ROOT, JsonLines, Log, Logfmt, configure

HIDDEN = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SECRET = Secret(HIDDEN)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Configure this process's log, and take that back."""
    logger = logging.getLogger(ROOT)
    before = (logger.handlers[:], logger.level, logger.propagate)
    found = io.StringIO()
    configure(found, "debug")
    yield found
    logger.handlers[:], logger.level, logger.propagate = before


def record_of(**fields: object) -> logging.LogRecord:
    """Return the record of one event."""
    record = logging.LogRecord(ROOT, logging.INFO, "x", 1, "agent.serving", None, None)
    record.fields = fields
    return record


def line_of(**fields: object) -> dict[str, object]:
    """Return one event's line, parsed."""
    found = JsonLines().format(record_of(**fields))
    assert "\n" not in found
    parsed = json.loads(found, parse_constant=pytest.fail)
    assert isinstance(parsed, dict)
    return parsed


def test_an_event_is_a_line_with_its_fields(stream: io.StringIO) -> None:
    """Time in UTC, level, a constant name, then the bound fields and the event's own."""
    log = Log("rolecall.agent").bind(cluster="one", peer="nobody")
    log.info("door.answered", peer="10.0.0.1", why='a "quote"\nand a break')
    found = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "info",
        "event": "door.answered",
        "cluster": "one",
        "peer": "10.0.0.1",
        "why": 'a "quote"\nand a break',
    }


def test_verbosity(stream: io.StringIO) -> None:
    """The words of AWS's agent (aws-pod-identity.md §1.1)."""
    log = Log()
    for word in ("panic", "fatal", "error", "warn", "info", "debug", "trace"):
        configure(stream, word)
        assert log.enabled(LEVELS[word])
        assert log.enabled(logging.DEBUG) is (word in ("debug", "trace"))
    with pytest.raises(KeyError):
        configure(stream, "loud")


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        [SECRET],
        {"key": {"deep": (SECRET,)}},
        {SECRET: 1},
        {("a", SECRET): SECRET},
        Credentials("ASIAIOSFODNN7EXAMPLE", SECRET, SECRET, 0.0, AccountId.parse("123456789012")),
        [float("nan"), SECRET],
    ],
    ids=["plain", "list", "nested", "key", "tuple key", "dataclass", "not a number"],
)
def test_a_secret_among_the_fields_is_never_shown(value: object) -> None:
    """However it is wrapped, and however badly the rest of the field can be written."""
    for shown in (
        json.dumps(line_of(value=value, other="still here")),
        Logfmt().format(record_of(value=value, other="still here")),
    ):
        assert HIDDEN not in shown
        assert "Secret(" in shown
        assert "still here" in shown


def test_no_field_takes_the_place_of_an_events_own() -> None:
    """Whoever filters by event or level can rely on them."""
    found = line_of(event="spoofed", level="spoofed", time="spoofed")
    assert (found["event"], found["level"]) == ("agent.serving", "info")


def test_a_field_that_cannot_be_written_does_not_cost_the_line() -> None:
    """A value that contains itself, or a number JSON has no word for."""
    loop: list[object] = []
    loop.append(loop)
    assert line_of(loop=loop, size=float("inf"))["event"] == "agent.serving"


def test_a_crash_is_logged_without_its_message(stream: io.StringIO) -> None:
    """An unforeseen exception may quote what it choked on."""
    try:
        raise ValueError(HIDDEN)
    except ValueError as error:
        Log().crash("http.handler_crashed", error, peer="10.0.0.1")
    found = json.loads(stream.getvalue())
    assert HIDDEN not in stream.getvalue()
    assert (found["level"], found["kind"], found["peer"]) == ("error", "ValueError", "10.0.0.1")
    assert "test_telemetry.py:" in found["where"][0]


# https://brandur.org/logfmt; as Go's kr/logfmt reads it: a value is a bare word, or a quoted string.
PAIR = re.compile(r'([^ ="]+)=("(?:[^"\\]|\\.)*"|[^ ="]*)(?: |$)')


def logfmt(line: str) -> dict[str, str]:
    """Read a line of logfmt."""
    found: dict[str, str] = {}
    at = 0
    while at < len(line):
        pair = PAIR.match(line, at)
        assert pair, line[at:]
        assert pair[1] not in found
        found[pair[1]] = json.loads(pair[2]) if pair[2].startswith('"') else pair[2]
        at = pair.end()
    return found


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_logfmt_is_read_back_as_it_was(fields: dict[str, str]) -> None:
    """Whatever stands in a value: it ends where it ends, and no line becomes two."""
    line = Logfmt().format(record_of(**fields))
    assert line.isascii()
    assert line.isprintable()
    own = {name: text for name, text in fields.items() if name not in ("time", "level", "event")}
    found = logfmt(line)
    assert list(found)[:3] == ["time", "level", "event"]
    assert {name: text for name, text in found.items() if name in own} == own
    assert (found["level"], found["event"]) == ("info", "agent.serving")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ("arn:aws:sts::123456789012:assumed-role/r/s", "arn:aws:sts::123456789012:assumed-role/r/s"),
        (["a", 1], r'"[\"a\",1]"'),
        ({"a": SECRET}, None),
        (float("nan"), "nan"),
    ],
    ids=str,
)
def test_logfmt_of_a_value(value: object, shown: str | None) -> None:
    """Numbers and plain words stand as they are, everything else is quoted."""
    line = Logfmt().format(record_of(value=value))
    assert shown is None or line.endswith(f" event=agent.serving value={shown}")


def test_a_key_of_logfmt_is_one_word() -> None:
    """Nothing in a field's name can end it."""
    assert Logfmt().format(record_of(**{'a b="c': 1})).endswith(" a_b__c=1")


def test_the_format_is_a_choice(stream: io.StringIO) -> None:
    """JSON where nothing else is said; a word that is no format is refused."""
    configure(stream, "info", "logfmt")
    Log().info("agent.serving", cluster="one")
    assert stream.getvalue().endswith(" level=info event=agent.serving cluster=one\n")
    with pytest.raises(KeyError):
        configure(stream, "info", "xml")

"""What is logged and counted: lines that parse, and secrets that nothing shows."""

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
from rolecall.edges.telemetry import LEVELS, ROOT, JsonLines, Log, Metric, configure, render

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


def line_of(**fields: object) -> dict[str, object]:
    """Return one event's line, parsed."""
    record = logging.LogRecord(ROOT, logging.INFO, "x", 1, "agent.serving", None, None)
    record.fields = fields
    found = JsonLines().format(record)
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
    shown = json.dumps(line_of(value=value, other="still here"))
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


# The text format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def parse(text: str) -> dict[str, tuple[str, str, dict[tuple[tuple[str, str], ...], float]]]:
    """Read an exposition by the words of its specification: name → kind, help, samples by labels."""
    assert text.endswith("\n")
    found: dict[str, tuple[str, str, dict[tuple[tuple[str, str], ...], float]]] = {}
    helps: dict[str, str] = {}
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            helps[name] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), words)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            found[name] = (kind, helps[name], {})
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            labels = []
            at = 0
            while at < len(match[2] or ""):
                label = LABEL.match(match[2], at)
                assert label, line
                labels.append((label[1], re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), label[2])))
                at = label.end()
            assert tuple(labels) not in found[match[1]][2], "a sample comes once"
            found[match[1]][2][tuple(labels)] = float(match[3])
    return found


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.floats(allow_nan=False), st.text('ab\\\n"{}, =')
)
def test_metrics_are_read_back_as_they_were(label: str, value: float, words: str) -> None:
    """Whatever stands in labels and help: codes come from outside."""
    text = render(
        [
            Metric("rolecall_a_total", "counter", words, [({"code": label, "door": words}, value), ({}, 1)]),
            Metric("rolecall_b", "gauge", "Nothing yet."),
        ]
    ).decode()
    found = parse(text)
    assert found["rolecall_a_total"] == ("counter", words, {(("code", label), ("door", words)): value, (): 1.0})
    assert found["rolecall_b"] == ("gauge", "Nothing yet.", {})

"""The corridor between a door and a source: every request is answered, counted, and written down once."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.exchange import Reply, Request
from rolecall.core.names import AccountId, Namespace, ServiceAccountName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued, Subject
from rolecall.daemons.serving import Corridor, Refused
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, ServiceError, Upstream
from rolecall.testing.fake_clock import FakeClock

REQUEST = Request("GET", "/v1/credentials", (("authorization", "sesame"),), peer="10.0.0.7")
ISSUED = Issued(
    Credentials("ASIA1", Secret("hidden-secret"), Secret("hidden-token"), 9e9, AccountId("123456789012")),
    "arn:aws:sts::123456789012:assumed-role/r/s",
    "AROA:s",
    subject=Subject(Namespace("ns"), ServiceAccountName("sa")),
    association_id="a-1",
)


def corridor(
    clock: FakeClock,
    *,
    parse: Callable[[Request], Ask | Reply] = lambda _: Ask(token=Secret("sesame")),
    error: Exception | None = None,
    refused: Refused | None = None,
    held: Issued | None = None,
) -> Corridor:
    """Return a corridor whose source takes 1.5 s."""

    async def source(ask: Ask) -> Issued:
        await clock.sleep(1.5)
        if error is not None:
            raise error
        return ISSUED

    def render_error(fault: RolecallError) -> Reply:
        return Reply(503, fault.message.encode())

    return Corridor(
        parse=parse,
        source=source,
        render=lambda issued: Reply(200, issued.association_id.encode()),
        render_error=render_error,
        clock=clock,
        log=Log("rolecall.test_corridor"),
        refused=refused,
        held=lambda _: held,
    )


def through(one: Corridor, clock: FakeClock) -> Reply:
    """Return the reply to a request, however long it takes."""

    async def story() -> Reply:
        found = one(REQUEST)
        if isinstance(found, Reply):
            return found
        waiting = asyncio.ensure_future(found)
        await clock.advance(2)
        return await waiting

    return asyncio.run(story())


def fields(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    """Return the fields of the one line that was written."""
    (record,) = caplog.records
    assert record.getMessage() == "door.answered"
    found: dict[str, object] = record.fields  # type: ignore[attr-defined]
    return found


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="rolecall.test_corridor")


def test_credentials_are_answered_and_written_down(caplog: pytest.LogCaptureFixture) -> None:
    """Who got which session by which association, how long it took; no secret."""
    clock = FakeClock()
    one = corridor(clock)
    assert through(one, clock) == Reply(200, b"a-1")
    assert one.replies == {200: 1}
    assert fields(caplog) == {
        "peer": "10.0.0.7",
        "method": "GET",
        "status": 200,
        "ms": 1500.0,
        "namespace": "ns",
        "service_account": "sa",
        "association": "a-1",
        "role_session": "arn:aws:sts::123456789012:assumed-role/r/s",
    }


def test_a_refused_request_never_waits(caplog: pytest.LogCaptureFixture) -> None:
    """The reply is there at once, without a turn of the loop; its line names no one."""
    clock = FakeClock()
    one = corridor(clock, parse=lambda _: Reply(403, b"no"))
    assert one(REQUEST) == Reply(403, b"no")
    assert one.replies == {403: 1}
    assert fields(caplog) == {"peer": "10.0.0.7", "method": "GET", "status": 403, "ms": 0.0}


def test_an_error_is_rendered_and_its_cause_written_down(caplog: pytest.LogCaptureFixture) -> None:
    """Every error of ours has a reply."""
    clock = FakeClock()
    one = corridor(clock, error=Upstream("nobody there"))
    assert through(one, clock) == Reply(503, b"nobody there")
    assert one.replies == {503: 1}
    assert fields(caplog)["why"] == "nobody there"


def test_a_defect_is_not_swallowed() -> None:
    """What is no error of ours goes on to the server, which answers 500 and logs its place only."""
    clock = FakeClock()
    with pytest.raises(ZeroDivisionError):
        through(corridor(clock, error=ZeroDivisionError("a token perhaps")), clock)


def test_replies_are_counted_by_status() -> None:
    """All of them."""
    clock = FakeClock()
    replies = iter([Reply(400), Reply(404), Reply(400)])
    one = corridor(clock, parse=lambda _: next(replies))
    for _ in range(3):
        assert not inspect.isawaitable(one(REQUEST))
    assert one.replies == {400: 2, 404: 1}


def test_what_waited_is_measured_and_what_did_not_is_not() -> None:
    """Whoever renders the histogram adds the others from the count of replies: no clock is read for a hit."""
    clock = FakeClock()
    for one in (corridor(clock), corridor(clock, error=Upstream("nobody there"))):
        through(one, clock)
        assert (one.waited.count, round(one.waited.total, 6)) == (1, 1.5)
    hit = corridor(clock, held=ISSUED)
    assert hit(REQUEST) == Reply(200, b"a-1")
    assert (hit.waited.count, hit.replies) == (0, {200: 1})


def test_refusals_are_counted_by_their_word() -> None:
    """One that was made here is told, with the status; what upstream said is told where it was asked."""
    clock = FakeClock()
    told: list[tuple[str, str, int, str]] = []

    def refused(request: Request, word: str, status: int, why: str) -> None:
        told.append((request.peer, word, status, why))

    replies = iter([Reply(400, reason="no-token"), Reply(418)])
    one = corridor(clock, parse=lambda _: next(replies), refused=refused)
    assert not inspect.isawaitable(one(REQUEST))
    assert not inspect.isawaitable(one(REQUEST))
    assert one.refusals == {"no-token": 1, "http-418": 1}
    limited = corridor(clock, error=ServiceError("TooManyRequests", "Too Many Requests", status=429), refused=refused)
    through(limited, clock)
    assert limited.refusals == {"TooManyRequests": 1}
    failed = corridor(clock, error=Upstream("nobody there"), refused=refused)
    through(failed, clock)
    assert failed.refusals == {"Upstream": 1}
    assert told == [
        ("10.0.0.7", "no-token", 400, ""),
        ("10.0.0.7", "", 418, ""),
        ("10.0.0.7", "TooManyRequests", 503, "Too Many Requests"),
    ]


def test_a_defect_is_counted_as_the_answer_that_it_becomes() -> None:
    """The server says 500; so must the metrics."""
    clock = FakeClock()
    one = corridor(clock, error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        through(one, clock)
    assert (one.replies, one.refusals, one.waited.count) == ({500: 1}, {"defect": 1}, 1)


def test_lines_that_are_too_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """For good, and told in the next line that is written."""
    clock = FakeClock()
    one = corridor(clock, parse=lambda _: Reply(400))
    for _ in range(700):
        one(REQUEST)
    assert (len(caplog.records), one.unwritten) == (500, 200)
    asyncio.run(clock.advance(1))
    one(REQUEST)
    assert caplog.records[-1].fields["unwritten"] == 200  # type: ignore[attr-defined]
    assert one.unwritten == 200

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
from rolecall.daemons.serving import Corridor
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, Upstream
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

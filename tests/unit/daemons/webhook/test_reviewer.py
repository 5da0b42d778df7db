"""A review waits for what is not known yet, and is never answered as if that did not exist."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

import pytest

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.webhook.gather import Gatherer
from rolecall.daemons.webhook.reviewer import Reviewer
from rolecall.daemons.webhook.rules import Rules
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock

from .test_gather import ANNOTATED, ROLE, Accounts

JSON = (("content-type", "application/json; charset=utf-8"),)


def review(account: str = "carts") -> bytes:
    pod = {"metadata": {"name": "p"}, "spec": {"serviceAccountName": account, "containers": [{"name": "main"}]}}
    request = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "carts",
        "object": pod,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def reviewer(accounts: Accounts, clock: FakeClock, *, most: int = 10, listed: bool = True) -> Reviewer:
    if listed:
        accounts.listed.set()
    return Reviewer(Rules(), Gatherer(accounts, ROLE), most=most, dice=lambda: 0.5, clock=clock, log=Log())


def post(body: bytes = b"", target: str = "/mutate?timeout=10s", method: str = "POST", headers=JSON) -> Request:
    return Request(method, target, headers, body, "127.0.0.1")


async def answer(found: Reply | Awaitable[Reply]) -> Reply:
    return found if isinstance(found, Reply) else await found


def test_what_is_known_is_answered_at_once() -> None:
    async def scene() -> None:
        asked = reviewer(Accounts(ANNOTATED, AssertionError()), FakeClock())
        reply = asked(post(review()))
        assert isinstance(reply, Reply)
        response = json.loads(reply.body)["response"]
        assert (response["uid"], response["allowed"], response["patchType"]) == ("u-1", True, "JSONPatch")
        assert (asked.reasons, asked.injected) == ({"injected": 1}, {"irsa": 1})

    asyncio.run(scene())


def test_before_the_list_it_waits_and_then_answers() -> None:
    async def scene() -> None:
        clock = FakeClock()
        accounts = Accounts(ANNOTATED, AssertionError())
        asked = reviewer(accounts, clock, listed=False)
        waiting = asyncio.ensure_future(answer(asked(post(review()))))
        await clock.advance(5)
        assert not waiting.done()
        accounts.listed.set()
        await clock.advance(0)
        assert b"patch" in (await waiting).body

    asyncio.run(scene())


def test_before_the_list_it_never_says_allowed() -> None:
    """Within the API server's patience it says 503: failurePolicy decides, and that is visible."""

    async def scene() -> None:
        clock = FakeClock()
        asked = reviewer(Accounts({}, {}), clock, listed=False)
        waiting = asyncio.ensure_future(answer(asked(post(review()))))
        await clock.advance(8.9)
        assert not waiting.done()
        await clock.advance(0.2)
        reply = await waiting
        assert (reply.status, dict(reply.headers)["retry-after"]) == (503, "1")
        assert b"service-accounts" in reply.body
        assert asked.refusals == {"not-listed": 1}

    asyncio.run(scene())


def test_nobody_can_say_and_so_does_the_webhook() -> None:
    async def scene() -> None:
        clock = FakeClock()
        accounts = Accounts(None, Upstream("the API server is away"))
        reply = await answer(reviewer(accounts, clock)(post(review())))
        assert reply.status == 503
        assert b"away" in reply.body

    asyncio.run(scene())


def test_waiting_reviews_are_bounded() -> None:
    async def scene() -> None:
        clock = FakeClock()
        asked = reviewer(Accounts(ANNOTATED, {}), clock, most=2, listed=False)
        waiting = [asyncio.ensure_future(answer(asked(post(review())))) for _ in range(2)]
        await clock.advance(0)
        reply = await answer(asked(post(review())))
        assert (reply.status, asked.refusals) == (503, {"too-many": 1})
        await clock.advance(10)
        assert [(await one).status for one in waiting] == [503, 503]
        assert asked.waiting == 0

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("request_", "status", "word"),
    [
        (post(b"{"), 400, "unreadable"),
        (post(b""), 400, "empty-body"),
        (post(b'{"kind":"Pod"}'), 400, "unreadable"),
        (post(review(), headers=(("content-type", "text/plain"),)), 415, "content-type"),
        (post(review(), headers=()), 415, "content-type"),
        (post(method="GET"), 405, "method"),
        (post(review(), method="PUT"), 405, "method"),
        (post(review(), target="/other"), 404, "no-such-path"),
    ],
)
def test_what_is_no_review(request_: Request, status: int, word: str) -> None:
    async def scene() -> None:
        asked = reviewer(Accounts({}, {}), FakeClock())
        reply = await answer(asked(request_))
        assert (reply.status, asked.refusals) == (status, {word: 1})

    asyncio.run(scene())


def test_no_review_waits_for_the_list_to_be_refused() -> None:
    """What is not read yet is read after the wait, so that a body that is none costs no parse in a storm."""

    async def scene() -> None:
        clock = FakeClock()
        accounts = Accounts({}, {})
        asked = reviewer(accounts, clock, listed=False)
        waiting = asyncio.ensure_future(answer(asked(post(b"{"))))
        await clock.advance(1)
        accounts.listed.set()
        await clock.advance(0)
        assert (await waiting).status == 400

    asyncio.run(scene())

"""An upstream that fails in every way, clocks that are set, long outages, crowds: the agent's whole chain, no network.

The parts are those of the running agent, wired by `build` with its own settings; only the HTTP client is a script,
the clock is virtual and the dice always fall the same way.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from inspect import isawaitable
from typing import Any

import jwt
import pytest

from rolecall.core.exchange import Request
from rolecall.daemons.agent import build as building
from rolecall.daemons.agent import upstream as calling
from rolecall.daemons.agent.config import read_config
from rolecall.edges.http_call import CallFailed, Cause
from rolecall.edges.http_client import HttpAnswer
from rolecall.edges.telemetry import ROOT, Log
from rolecall.testing.fake_clock import FakeClock

HOUR, MINUTE = 3600.0, 60.0
SIX_HOURS = 6 * HOUR
PATIENCE = 6.5
"""Seconds after which any question is answered: `ANSWER_WITHIN`, and a little."""
ENV = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
ORIGIN = "https://eks-auth.us-west-2.api.aws"
ROLE = "arn:aws:sts::123456789012:assumed-role/demo"


def answer(number: int, expires: float, role: str = ROLE) -> HttpAnswer:
    """Return an answer of EKS Auth's as its API describes it; the key and the session have the number."""
    body = {
        "subject": {"namespace": "ns", "serviceAccount": "sa"},
        "audience": "pods.eks.amazonaws.com",
        "podIdentityAssociation": {
            "associationArn": "arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1",
            "associationId": "a-1",
        },
        "assumedRoleUser": {"arn": f"{role}/session-{number}", "assumeRoleId": f"AROA:session-{number}"},
        "credentials": {
            "sessionToken": f"session-token-{number}",
            "secretAccessKey": f"secret-key-{number}",
            "accessKeyId": f"ASIA{number}",
            "expiration": expires,
        },
    }
    return HttpAnswer(200, (("content-type", "application/json"),), json.dumps(body).encode())


def error(status: int, code: str = "") -> HttpAnswer:
    """Return an error as EKS Auth says it, or as somebody between says it, who knows no codes."""
    headers = (("x-amzn-errortype", code),) if code else ()
    return HttpAnswer(status, headers, b'{"message":"because"}' if code else b"<html>Bad Gateway</html>")


class Upstream:
    """EKS Auth behind an HTTP client: it issues numbered credentials of `life` seconds, or does what `script` says."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.life, self.delay = clock, SIX_HOURS, 0.0
        self.script: Fault | None = None
        self.calls = self.issued = 0
        self.at: list[float] = []
        self.body = b""  # of the call that came last

    def issue(self, life: float | None = None, role: str = ROLE) -> HttpAnswer:
        """Return the next credentials."""
        self.issued += 1
        return answer(self.issued, self.clock.now() + (self.life if life is None else life), role)

    async def call(self, _method: str, _url: str, _headers: object, body: bytes, **limits: Any) -> HttpAnswer:
        """Answer one call within its limits, as `HttpClient.call` promises."""
        self.calls += 1
        self.body = body
        self.at.append(self.clock.monotonic())
        if self.script is None:
            await self.clock.sleep(self.delay)
            return self.issue()
        return await self.script(self, limits["timeout"])

    def close(self) -> None:
        """Do nothing: there are no connections."""


Fault = Callable[[Upstream, float], Awaitable[HttpAnswer]]


def says(found: HttpAnswer) -> Fault:
    """An upstream that always gives this answer."""

    async def script(_upstream: Upstream, _timeout: float) -> HttpAnswer:
        return found

    return script


def fails(cause: Cause) -> Fault:
    """An upstream of which the HTTP client finds this."""

    async def script(_upstream: Upstream, _timeout: float) -> HttpAnswer:
        raise CallFailed(ORIGIN, cause)

    return script


def believes(*keys: str) -> Fault:
    """An upstream that knows the issuer's keys of these ids, and believes no token of another."""

    async def script(upstream: Upstream, _timeout: float) -> HttpAnswer:
        key = jwt.get_unverified_header(json.loads(upstream.body)["token"])["kid"]
        return upstream.issue() if key in keys else error(400, "InvalidTokenException")

    return script


def slow(seconds: float) -> Fault:
    """An upstream that takes this long, which may be longer than anybody waits."""

    async def script(upstream: Upstream, timeout: float) -> HttpAnswer:
        await upstream.clock.sleep(min(seconds, timeout))
        if seconds > timeout:
            raise CallFailed(ORIGIN, "timeout")
        return upstream.issue()

    return script


def issues(life: float, role: str = ROLE) -> Fault:
    """An upstream whose credentials live this long; a negative life is over already."""

    async def script(upstream: Upstream, _timeout: float) -> HttpAnswer:
        return upstream.issue(life, role)

    return script


class Node:
    """An agent with its upstream. A pod is a name; each has its token and its address."""

    def __init__(self, upstream: Upstream, *flags: str) -> None:
        self.clock, self.upstream = upstream.clock, upstream
        self.agent = building.build(read_config(["serve", "-c", "demo", *flags], ENV), self.clock, Log())
        self._raw: dict[str, bytes] = {}
        self.signing_key = "one"

    def rotate(self, key: str) -> None:
        """Have the issuer sign with another key, and the kubelet give every pod a token of it."""
        self.signing_key = key
        self._raw.clear()

    async def get(self, pod: str = "pod", peer: str = "") -> tuple[int, str]:
        """Ask as a pod's SDK does, past the same two doors as its bytes would; return status and text."""
        if pod not in self._raw:
            claims, header = {"jti": pod, "exp": self.clock.now() + 24 * HOUR}, {"kid": self.signing_key}
            token = jwt.encode(claims, "k" * 64, algorithm="HS256", headers=header)
            head = f"GET /v1/credentials HTTP/1.1\r\nhost: 169.254.170.23\r\nauthorization: {token}\r\n\r\n"
            self._raw[pod] = head.encode()
        raw, peer = self._raw[pod], peer or f"10.0.0.{pod}"
        known = self.agent.hot.answer(raw, peer)
        if known is not None:
            head, _, body = known[0].partition(b"\r\n\r\n")
            return int(head.split()[1]), body.decode()
        token = raw.decode().rpartition(": ")[2].strip()
        headers = (("host", "169.254.170.23"), ("authorization", token))
        found = self.agent.corridor(Request("GET", "/v1/credentials", headers, peer=peer, raw=raw))
        reply = await found if isawaitable(found) else found
        return reply.status, reply.body.decode()

    async def wait(self, *pods: str) -> list[tuple[int, str]]:
        """Have these pods ask at once, and wait for as long as the agent may take."""
        asked = [asyncio.create_task(self.get(pod)) for pod in pods or ("pod",)]
        await self.clock.advance(PATIENCE)
        assert all(one.done() for one in asked), "the agent's patience is over"
        return [one.result() for one in asked]

    async def key(self, pod: str = "pod") -> str:
        """Return the access key that a pod gets, at once."""
        status, text = await self.get(pod)
        assert status == 200, text
        return str(json.loads(text)["AccessKeyId"])

    async def key_of(self, raw: bytes) -> str:
        """Return the access key that these very bytes get, at once."""
        raws, self._raw = self._raw, {"pod": raw}
        try:
            return await self.key()
        finally:
            self._raw = raws

    @property
    def questions(self) -> int:
        """How many questions went upstream, each of one call or more."""
        return self.agent.cache.counters.upstream_calls


Play = Callable[..., None]


@pytest.fixture
def quiet() -> None:
    """Have nothing logged: with thousands of pods, looking for their secrets in the lines would take minutes."""
    logging.getLogger(ROOT).setLevel(logging.CRITICAL)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run a scene on a node whose renewals go on; it ends with nothing left open."""
    monkeypatch.setattr(calling.entropy, "uniform", lambda low, high: (low + high) / 2)

    def run(scene: Callable[[Node], Awaitable[None]], *flags: str) -> None:
        async def scene_on_a_node() -> None:
            upstream = Upstream(FakeClock())
            monkeypatch.setattr(calling, "HttpClient", lambda **_: upstream)
            node = Node(upstream, *flags)
            node.agent.start()
            try:
                await scene(node)
            finally:
                await node.agent.close()
            assert node.agent.cache.counters.renewer_crashes == 0

        asyncio.run(scene_on_a_node())

    return run


# --- the matrix --------------------------------------------------------------------------------------------

KEPT, DROPPED, RENEWED, GRACE = "kept", "dropped", "renewed", "kept for the grace"


@dataclass(frozen=True)
class Row:
    """What one fault comes to.

    A pod without credentials gets `status` and a text with `text`, after `calls` upstream; one with credentials
    finds them `held` afterwards.
    """

    name: str
    fault: Fault
    status: int
    text: str
    calls: int
    held: str = KEPT


TRIES = 3  # of one question, where another try may help
MATRIX = [
    Row("slow: 3 s", slow(3.0), 200, "ASIA1", 1, RENEWED),
    Row("hangs", slow(1e6), 500, "did not answer in time", 2),
    Row("resets", fails("closed"), 500, "closed the connection", TRIES),
    Row("refuses", fails("refused"), 500, "refused the connection", TRIES),
    Row("no name", fails("dns"), 500, "cannot be resolved", TRIES),
    Row("no TLS", fails("tls"), 500, "certificate", 1),
    Row("no HTTP", fails("garbled"), 500, "did not answer in HTTP", TRIES),
    Row("truncated", says(HttpAnswer(200, (), answer(1, 4e9).body[:-30])), 500, "cannot be read", 1),
    Row("garbage", says(HttpAnswer(200, (), b"\x00\xff<html>")), 500, "cannot be read", 1),
    Row("nothing", says(HttpAnswer(200, (), b"")), 500, "cannot be read", 1),
    Row("no credentials", says(HttpAnswer(200, (), b"{}")), 500, "cannot be read", 1),
    Row("huge", fails("too-long"), 500, "longer than allowed", 1),
    Row("redirects", says(error(302)), 500, "HTTP status 302", TRIES),
    Row("400", says(error(400, "InvalidRequestException")), 400, "InvalidRequestException", 1),
    Row("token expired", says(error(400, "ExpiredTokenException")), 400, "ExpiredTokenException", 1, DROPPED),
    Row("token invalid", says(error(400, "InvalidTokenException")), 400, "InvalidTokenException", 1, DROPPED),
    Row("no association", says(error(404, "ResourceNotFoundException")), 404, "ResourceNotFound", 1, DROPPED),
    Row("a 404 of no code", says(error(404)), 404, "UnknownError", 1),
    Row("denied", says(error(400, "AccessDeniedException")), 400, "AccessDeniedException", 1, GRACE),
    Row("node's key unknown", says(error(403, "UnrecognizedClientException")), 500, "UnrecognizedClient", 1),
    Row("node's signature", says(error(403, "InvalidSignatureException")), 500, "InvalidSignatureException", 1),
    Row("node may not ask", says(error(403, "AccessDeniedException")), 500, "AccessDeniedException", 1, GRACE),
    Row("a proxy's 407", says(error(407)), 500, "UnknownError", 1),
    Row("node's key over", says(error(403, "ExpiredTokenException")), 500, "ExpiredTokenException", 1, GRACE),
    Row("throttled", says(error(429, "ThrottlingException")), 429, "ThrottlingException", TRIES),
    Row("500", says(error(500, "InternalServerException")), 500, "InternalServerException", TRIES),
    Row("a proxy's 502", says(error(502)), 502, "UnknownError", TRIES),
    Row("503", says(error(503, "ServiceUnavailableException")), 503, "ServiceUnavailable", TRIES),
    Row("over already", issues(-1.0), 500, "expired", 1),
    Row("over at that moment", issues(0.0), 500, "expired", 1),
]


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.name)
def test_a_pod_without_credentials_is_told(play: Play, row: Row) -> None:
    """The cause, in so many calls, and a crash-looping one that asks again at once costs no further call."""

    async def scene(node: Node) -> None:
        node.upstream.script = row.fault
        asked = asyncio.create_task(node.get())
        while not asked.done():
            await node.clock.advance(0.1)
        assert node.clock.monotonic() <= PATIENCE
        again = asyncio.create_task(node.get())
        await node.clock.advance(0.0)
        assert again.done()
        for status, text in (asked.result(), again.result()):
            assert (status, row.text in text) == (row.status, True), text
        assert node.upstream.calls == row.calls
        assert len(node.agent.cache) == (row.held == RENEWED)
        node.upstream.script = None
        await node.clock.advance(2.0)  # a first failure is remembered for a second at most
        assert await node.wait() == [(200, (await node.get())[1])]

    play(scene)


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.name)
def test_a_pod_with_credentials_keeps_them(play: Play, row: Row) -> None:
    """As long as they are valid, whatever becomes of renewals; only upstream's clear word about the pod ends them.

    An AccessDenied may be about the node: it is borne for 15 minutes.
    """

    async def scene(node: Node) -> None:
        assert (await node.wait())[0][0] == 200
        node.upstream.script = row.fault
        await node.clock.advance(3 * HOUR)  # renewals begin within this
        assert node.questions > 1, "it was to be renewed meanwhile"
        if row.held == DROPPED:
            assert len(node.agent.cache) == 0
            assert (await node.wait())[0][0] == row.status
            return
        if row.held == RENEWED:
            assert await node.key() == "ASIA2"
            return
        assert await node.key() == "ASIA1"
        await node.clock.advance(16 * MINUTE)
        if row.held == GRACE:
            assert (await node.wait())[0][0] == row.status
            return
        await node.clock.advance(SIX_HOURS - node.clock.monotonic() - 2 * MINUTE)
        assert await node.key() == "ASIA1"
        node.upstream.script = None
        await node.clock.advance(MINUTE + 5.0)  # the longest pause of renewals
        assert await node.key() != "ASIA1", "upstream is well again, and there was a minute left"

    play(scene)


def test_a_flood_of_one_address_does_not_hold_up_its_neighbour(play: Play) -> None:
    """250 unknown tokens of one address at once, and a new pod beside it; all of them wait for 6 seconds at most."""

    async def scene(node: Node) -> None:
        node.upstream.delay = 0.15
        crowd = [asyncio.create_task(node.get(f"flood-{one}", "10.9.9.9")) for one in range(250)]
        await node.clock.advance(0.05)
        neighbour = asyncio.create_task(node.get())
        await node.clock.advance(0.15)
        assert (neighbour.done(), any(not one.done() for one in crowd)) == (True, True)
        await node.clock.advance(2.0)
        assert {one.result()[0] for one in crowd} == {200}
        node.upstream.script = slow(1e6)
        crowd = [asyncio.create_task(node.get(f"again-{one}", "10.9.9.9")) for one in range(100)]
        await node.clock.advance(PATIENCE)
        assert {(one.result()[0], "no" in one.result()[1]) for one in crowd} == {(500, True)}

    play(scene)


# --- answers that are worse than what is held ----------------------------------------------------------------


@pytest.mark.parametrize("life", [MINUTE, 2 * HOUR], ids=["nearly over", "shorter"])
def test_credentials_older_than_those_held_do_not_replace_them(play: Play, life: float) -> None:
    """An upstream that hands out old ones, of a cache of its own for example, shortens nobody's access."""

    async def scene(node: Node) -> None:
        await node.wait()
        node.upstream.script = issues(life)
        await node.clock.advance(3 * HOUR)
        assert node.upstream.issued > 1
        assert await node.key() == "ASIA1"
        node.upstream.script = None
        await node.clock.advance(SIX_HOURS - node.clock.monotonic() - 20 * MINUTE)
        assert await node.key() != "ASIA1"
        await node.clock.advance(HOUR)
        assert await node.key() not in ("ASIA1", "ASIA2")
        assert node.upstream.calls < 20, "what upstream answers is not asked again and again"

    play(scene)


def test_another_role_replaces_one_that_lasts_longer(play: Play) -> None:
    """The association was changed: its new role holds, however short its sessions are."""

    async def scene(node: Node) -> None:
        await node.wait()
        node.upstream.script = issues(HOUR, role=ROLE + "-2")
        await node.clock.advance(3 * HOUR)
        assert await node.key() != "ASIA1"

    play(scene)


@pytest.mark.parametrize(("grace", "minutes"), [("0", 0), ("1h", 58)])
def test_the_grace_is_the_operators(play: Play, grace: str, minutes: int) -> None:
    """Past an AccessDenied at a renewal; with none, what is held ends with it."""

    async def scene(node: Node) -> None:
        await node.wait()
        node.upstream.script = says(error(400, "AccessDeniedException"))
        while node.questions == 1:
            await node.clock.advance(MINUTE)
        await node.clock.advance(minutes * MINUTE)
        assert (await node.wait())[0][0] == (200 if minutes else 400)
        await node.clock.advance(2 * MINUTE)
        assert (await node.wait())[0][0] == 400

    play(scene, "--grace", grace)


# --- the issuer's keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [0.0, 2 * MINUTE], ids=["known at once", "known late"])
def test_the_issuers_key_is_rotated(play: Play, late: float) -> None:
    """Both keys are good for a while, as Kubernetes rotates them. A token of a key that upstream does not know yet is
    refused, which costs nothing of what is held for the former one, and is served within 30 seconds of being known."""

    async def scene(node: Node) -> None:
        node.upstream.script = believes("one")
        assert (await node.wait())[0][0] == 200
        before = dict(node._raw)
        node.rotate("two")
        for _ in range(int(late / PATIENCE)):
            assert [status for status, _ in await node.wait()] == [400]
        assert node.upstream.calls <= 2 + late / 15.0, "a crash loop is not passed on"
        assert await node.key_of(before["pod"]) == "ASIA1"
        node.upstream.script = believes("one", "two")
        await node.clock.advance(30.0 if late else 0.0)
        assert [status for status, _ in await node.wait()] == [200]
        assert await node.key_of(before["pod"]) == "ASIA1"

    play(scene)


def test_the_issuers_former_key_is_withdrawn(play: Play) -> None:
    """What was issued for its tokens goes with the next renewal, and comes back with tokens of the new key."""

    async def scene(node: Node) -> None:
        node.upstream.script = believes("one")
        pods = [f"{number}" for number in range(50)]
        assert {status for status, _ in await node.wait(*pods)} == {200}
        node.upstream.script = believes("two")
        await node.clock.advance(3 * HOUR)
        assert {status for status, _ in await node.wait(*pods)} == {400}
        assert len(node.agent.cache) == 0
        node.rotate("two")
        assert {status for status, _ in await node.wait(*pods)} == {200}

    play(scene)


# --- clocks that are set -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
@pytest.mark.parametrize("at", [0.5 * HOUR, 2.9 * HOUR, 5.0 * HOUR - MINUTE], ids=lambda at: f"{at / HOUR:.1f} h")
def test_a_clock_that_is_set_costs_nobody_their_credentials(play: Play, step: float, at: float) -> None:
    """By an hour, at any time of their life: they are valid by both clocks, so they are served; and renewed in time."""

    async def scene(node: Node) -> None:
        await node.wait()
        seen = {await node.key()}
        await node.clock.advance(at)
        node.clock.step(step)
        for _ in range(72):
            await node.clock.advance(5 * MINUTE)
            status, text = await node.get()
            assert status == 200
            found = json.loads(text)
            assert datetime.fromisoformat(found["Expiration"]).timestamp() > node.clock.now()
            seen.add(found["AccessKeyId"])
        assert 2 <= len(seen) <= 5
        assert node.upstream.calls == len(seen)

    play(scene)


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_failure_is_not_remembered_by_a_clock_that_is_set(play: Play, step: float) -> None:
    """A pod that was refused is asked for again a second later."""

    async def scene(node: Node) -> None:
        node.upstream.script = says(error(404, "ResourceNotFoundException"))
        assert (await node.wait())[0][0] == 404
        node.upstream.script = None
        node.clock.step(step)
        assert (await node.wait())[0][0] == 200

    play(scene)


def test_the_renewal_of_what_was_unused_comes_by_whichever_clock(play: Play) -> None:
    """It was due while nobody asked, and the clock was set back since: the next one who asks has it renewed."""

    async def scene(node: Node) -> None:
        node.upstream.life = HOUR
        await node.wait()
        await node.clock.advance(HOUR / 2)
        assert node.upstream.calls == 2, "renewed, and not used since"
        node.clock.step(-HOUR)
        await node.clock.advance(0.6 * HOUR)
        assert await node.key() == "ASIA2"
        await node.clock.advance(5.0)
        assert await node.key() == "ASIA3"

    play(scene)


# --- many ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quiet")
def test_an_outage_of_three_hours_costs_no_pod_its_credentials(play: Play) -> None:
    """500 pods with credentials of six hours ask every ten minutes, upstream hangs: all get valid credentials.

    A pod that starts in the outage cannot be served, and is once it is over.
    """

    async def scene(node: Node) -> None:
        pods = [str(number) for number in range(500)]
        await node.wait(*pods)
        answers: Counter[int] = Counter()
        for minute in range(0, 8 * 60, 10):
            node.upstream.script = slow(1e6) if 150 <= minute < 330 else None
            for pod in pods:
                status, text = await node.get(pod)
                expires = datetime.fromisoformat(json.loads(text)["Expiration"]).timestamp()
                assert expires > node.clock.now() + 15
                answers[status] += 1
            if minute == 200:
                assert (await node.wait("late"))[0][0] == 500
            await node.clock.advance(10 * MINUTE)
        assert answers == {200: 500 * 48}
        assert (await node.wait("late"))[0][0] == 200
        assert node.agent.cache.counters.dropped == {}
        assert len({json.loads((await node.get(pod))[1])["AccessKeyId"] for pod in pods}) == 500

    play(scene)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("qps", "life", "retention"), [("3", SIX_HOURS, "3h"), ("20", HOUR, "1h")], ids=["3 QPS, 6 h", "20 QPS, 1 h"]
)
def test_two_thousand_are_renewed_in_time(play: Play, qps: str, life: float, retention: str) -> None:
    """All were issued within seconds; each is renewed, at the rate, 15 minutes before its end, when SDKs want it newer.

    Upstream takes 150 ms for each.
    """

    async def scene(node: Node) -> None:
        node.upstream.life, node.upstream.delay = life, 0.15
        pods = [str(number) for number in range(2000)]
        for first in range(0, 2000, 500):
            assert {status for status, _ in await node.wait(*pods[first : first + 500])} == {200}
        node.upstream.at.clear()
        for _ in range(2):
            await node.clock.advance(life / 2 + 2000 / float(qps) - node.clock.monotonic() % 1)
            for pod in pods:
                status, text = await node.get(pod)
                left = datetime.fromisoformat(json.loads(text)["Expiration"]).timestamp() - node.clock.now()
                assert (status, left > 15 * MINUTE) == (200, True)
        counters = node.agent.cache.counters
        assert counters.renewals >= 2000
        assert counters.misses == 2000, "nobody has waited but at the very first"
        for burst, at in zip(node.upstream.at, node.upstream.at[60:], strict=False):
            assert at - burst >= (60 - float(qps)) / float(qps) - 1e-6

    play(scene, "--max-service-qps", qps, "--max-credential-retention-before-renewal", retention)


@pytest.mark.parametrize(
    ("fault", "status", "calls"),
    [
        pytest.param(None, 200, 1, id="success"),
        pytest.param(slow(3.0), 200, 1, id="slow"),
        pytest.param(says(error(400, "AccessDeniedException")), 400, 1, id="denied"),
        pytest.param(says(error(500, "InternalServerException")), 500, TRIES, id="500"),
        pytest.param(fails("closed"), 500, TRIES, id="reset"),
    ],
)
def test_fifty_callers_are_one_question(play: Play, fault: Fault | None, status: int, calls: int) -> None:
    """They all hear the one answer; and fifty who come right after it cost nothing."""

    async def scene(node: Node) -> None:
        node.upstream.script = fault
        crowd = [asyncio.create_task(node.get()) for _ in range(50)]
        while not all(one.done() for one in crowd):
            await node.clock.advance(0.05)
        assert {one.result() for one in crowd} == {(status, crowd[0].result()[1])}
        again = [asyncio.create_task(node.get()) for _ in range(50)]
        await node.clock.advance(0.0)
        assert {one.result() for one in again} == {crowd[0].result()}
        assert (node.questions, node.upstream.calls) == (1, calls)

    play(scene)

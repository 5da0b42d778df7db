"""The server decides by itself: who has the address, on whose node, which role, and what the namespace permits."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.caller import AtPodIp
from rolecall.core.exchange import Request
from rolecall.core.grant import Refusal
from rolecall.core.names import ClusterName
from rolecall.core.source import Issued
from rolecall.daemons.agent.kiam.server import Server
from rolecall.daemons.agent.metadata.granted import Granted, sts_source
from rolecall.daemons.agent.metadata.pods_by_ip import NamespaceHere, PodsByIp, keeping_pods
from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.edges.kube.wire import pod_of
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, ServiceError, Upstream, UpstreamAnswered
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.remote import wire
from rolecall.mechanisms.metadata_proxy.remote.wire import Question
from rolecall.mechanisms.metadata_proxy.settings import Kiam
from rolecall.testing.fake_clock import FakeClock
from unit.daemons.agent.metadata.world import BASE, FakeSts

RULES = Kiam(base=BASE)
HERE = ClusterName.parse("here")


class World:
    """A server with pods that a test puts; agents are on ``node-a`` unless they say otherwise."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sts = FakeSts(self.clock)
        self.granted = Granted(sts_source(self.sts), size=100, qps=3.0, clock=self.clock, log=Log(), dice=lambda: 0.0)
        self.pods = PodsByIp(self.clock, self.granted.forget, needs_namespace=True)
        self.keep = keeping_pods(MetadataSettings(dialect="kiam", kiam=RULES).keys(), None)
        self.told: list[tuple[str, str, str]] = []
        self.server = Server(
            RULES, self.pods, self.granted, self.node_of, log=Log(), denied=self.denied, missing=lambda: ""
        )
        self.namespace(".*")

    async def node_of(self, authorization: str) -> str:
        if not authorization:
            raise ServiceError("no-token", "an agent shows its token", status=401)
        return authorization

    def denied(self, caller: AtPodIp, reason: str, role: str, why: str) -> None:
        self.told.append((reason, role, why))

    def namespace(self, permitted: str) -> None:
        notes = {RULES.namespace_key: permitted} if permitted else {}
        self.pods.namespaces.replace([NamespaceHere("shop", notes)])

    def pod(self, name: str, ip: str, role: str, node: str = "node-a", uid: str = "") -> None:
        meta = {"name": name, "namespace": "shop", "uid": uid or name, "annotations": {RULES.role_key: role}}
        found = {"metadata": meta, "spec": {"nodeName": node}, "status": {"phase": "Running", "podIPs": [{"ip": ip}]}}
        self.pods.put(self.keep(pod_of(json.dumps(found).encode())))

    async def ask(self, path: str, question: Question, agent: str = "node-a") -> tuple[int, bytes]:
        request = Request("POST", path, (("authorization", agent),), wire.encode_question(question), "10.9.9.9")
        reply = self.server(request)
        found = asyncio.ensure_future(_wait(reply))
        await self.clock.advance(1.0)
        answer = await found
        return answer.status, answer.body

    async def credentials(self, ip: str, uid: str, role: str, agent: str = "node-a") -> Issued | Refusal:
        status, body = await self.ask(wire.CREDENTIALS, Question(ip, uid, f"{BASE}{role}"), agent)
        assert status == 200
        return wire.decode_credentials(body, None)

    async def caller(self, ip: str, agent: str = "node-a") -> Facts | Refusal:
        status, body = await self.ask(wire.CALLER, Question(ip), agent)
        assert status == 200
        found, rules = wire.decode_caller(body, ip, HERE)
        assert rules == RULES
        return found


async def _wait(reply: Any) -> Any:
    return await reply


def test_a_pod_of_the_agents_node_gets_its_role() -> None:
    async def scene() -> None:
        world = World()
        world.pod("carts", "10.0.0.1", "carts")
        found = await world.caller("10.0.0.1")
        assert isinstance(found, Facts)
        assert (found.caller.id, found.annotations[RULES.role_key]) == ("carts", "carts")
        assert found.namespace == {RULES.namespace_key: ".*"}
        issued = await world.credentials("10.0.0.1", "carts", "carts")
        assert isinstance(issued, Issued)
        again = await world.credentials("10.0.0.1", "carts", "carts")
        assert again == issued
        assert len(world.sts.asked) == 1

    asyncio.run(scene())


def test_another_nodes_pod_is_nobody_to_this_agent() -> None:
    async def scene() -> None:
        world = World()
        world.pod("carts", "10.0.0.1", "carts")
        for found in (
            await world.caller("10.0.0.1", "node-b"),
            await world.credentials("10.0.0.1", "carts", "carts", "node-b"),
        ):
            assert isinstance(found, Refusal)
            assert found.because == ("other-node",)
        assert world.sts.asked == []

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("annotated", "asked", "permitted", "reason"),
    [("carts", "web", ".*", "other-role"), ("carts", "carts", "", "namespace-forbids"), ("", "carts", ".*", "no-role")],
)
def test_what_the_agent_decided_is_decided_again(annotated: str, asked: str, permitted: str, reason: str) -> None:
    """A forged question gets no further than the server."""

    async def scene() -> None:
        world = World()
        world.namespace(permitted)
        world.pod("carts", "10.0.0.1", annotated)
        found = await world.credentials("10.0.0.1", "carts", asked)
        assert isinstance(found, Refusal)
        assert found.reason == reason
        assert [told[0] for told in world.told] == ["KiamRoleForbidden"]
        assert world.sts.asked == []

    asyncio.run(scene())


def test_an_address_that_is_another_pods_by_now() -> None:
    async def scene() -> None:
        world = World()
        world.pod("old", "10.0.0.1", "old")
        world.pods.replace([])
        world.pod("new", "10.0.0.1", "old")
        found = await world.credentials("10.0.0.1", "old", "old")
        assert isinstance(found, Refusal)
        assert found.reason == "changed"

    asyncio.run(scene())


def test_what_sts_says_is_told_to_the_agent_and_on_the_pod() -> None:
    async def scene() -> None:
        world = World()
        world.pod("carts", "10.0.0.1", "carts")
        world.sts.failure = UpstreamAnswered(status=403, code="AccessDenied", message="not authorized")
        with pytest.raises(UpstreamAnswered) as fault:
            await world.credentials("10.0.0.1", "carts", "carts")
        assert (fault.value.status, fault.value.code, fault.value.message) == (403, "AccessDenied", "not authorized")
        assert world.told == [("KiamCredentialError", f"{BASE}carts", "AccessDenied: not authorized")]

    asyncio.run(scene())


def test_who_is_no_agent_learns_nothing() -> None:
    async def scene() -> None:
        world = World()
        world.pod("carts", "10.0.0.1", "carts")
        status, body = await world.ask(wire.CALLER, Question("10.0.0.1"), "")
        assert (status, b"carts" in body) == (401, False)

    asyncio.run(scene())


@given(st.binary(max_size=200))
def test_any_body_is_a_question_or_refused(body: bytes) -> None:
    with suppress(BadInput):
        assert isinstance(wire.decode_question(body), Question)


@given(st.binary(max_size=200))
def test_any_answer_is_read_or_refused(body: bytes) -> None:
    """Whatever answers in the server's place."""
    for read in (lambda: wire.decode_caller(body, "10.0.0.1", HERE), lambda: wire.decode_credentials(body, None)):
        try:
            found = read()
        except Upstream:
            continue
        assert isinstance(found, tuple | Refusal | Issued)
    with suppress(Upstream):
        wire.decode_token_review(body)


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ({}, None),
        ({"authenticated": False, "error": "expired"}, None),
        ({"authenticated": True, "user": {"username": "u"}}, wire.Reviewed("u")),
        (
            {
                "authenticated": True,
                "user": {"username": "u", "extra": {"authentication.kubernetes.io/pod-uid": ["p-1"]}},
            },
            wire.Reviewed("u", "p-1"),
        ),
        (
            {
                "authenticated": True,
                "user": {"username": "u", "extra": {"authentication.kubernetes.io/pod-uid": ["a", "b"]}},
            },
            wire.Reviewed("u"),
        ),
    ],
)
def test_what_the_api_server_says_of_a_token(status: dict[str, Any], meant: wire.Reviewed | None) -> None:
    assert wire.decode_token_review(json.dumps({"status": status}).encode()) == meant

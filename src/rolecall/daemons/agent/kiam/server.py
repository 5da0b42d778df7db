"""The server's door: what an agent may ask about, and what the server decides by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from rolecall.core.caller import AtPodIp
from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Grant, Refusal
from rolecall.core.source import Ask, Issued
from rolecall.daemons.agent.metadata.granted import Granted
from rolecall.daemons.agent.metadata.whose import Whose
from rolecall.edges.metrics import count
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, RolecallError, ServiceError
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.remote import wire
from rolecall.mechanisms.metadata_proxy.remote.wire import Question
from rolecall.mechanisms.metadata_proxy.settings import Kiam

_JSON = (("content-type", "application/json"), ("cache-control", "no-store"))
_TEXT = (("content-type", "text/plain; charset=utf-8"),)
_OTHER_NODE = "other-node"
Denied = Callable[[AtPodIp, str, str, str], None]
"""Told of a pod that is refused its role, or for which AWS refuses it: pod, reason of an Event, role, sentence."""


class NodeOf(Protocol):
    """Says which node an agent is on."""

    async def __call__(self, authorization: str, /) -> str | None:
        """Return the node; None where agents of every node are served alike. Raises `ServiceError`, `Upstream`."""
        ...


class Server:
    """Answers agents. `answers` counts by what was asked and how it ended."""

    def __init__(
        self, rules: Kiam, whose: Whose, granted: Granted, node_of: NodeOf, *, log: Log, denied: Denied,
        missing: Callable[[], str],
    ) -> None:  # fmt: skip
        self._rules, self._dialect = rules, KiamDialect(rules)
        self._whose, self._granted = whose, granted
        self._node_of, self._log, self._denied, self._missing = node_of, log, denied, missing
        self.answers: dict[str, int] = {}

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the reply."""
        if request.path == wire.HEALTH:
            missing = self._missing()
            return Reply(503 if missing else 200, (missing or "ok").encode() + b"\n", _TEXT)
        if request.path not in (wire.CALLER, wire.CREDENTIALS):
            return Reply(404, b"404 page not found\n", _TEXT, "no-such-path")
        if request.method != "POST":
            return Reply(405, b"use POST\n", (*_TEXT, ("allow", "POST")), "method")
        return self._answer(request)

    async def _answer(self, request: Request) -> Reply:
        what = request.path.rpartition("/")[2]
        try:
            node = await self._node_of(request.header("authorization") or "")
            question = wire.decode_question(request.body)
            found = await self._of_node(question.ip, node)
            if request.path == wire.CALLER:
                body, ended = wire.encode_caller(found, self._rules), _ended(found)
            else:
                outcome = await self._credentials(question, found)
                body, ended = wire.encode_credentials(outcome), _ended(outcome)
        except BadInput as fault:
            return self._refuse(request, what, 400, fault)
        except ServiceError as fault:
            return self._refuse(request, what, fault.status, fault)
        except RolecallError as fault:
            return self._refuse(request, what, 503, fault)
        count(self.answers, f"{what} {ended}")
        return Reply(200, body, _JSON)

    async def _of_node(self, ip: str, node: str | None) -> Facts | Refusal:
        """Return who has an address; another node's pods are not this agent's to ask for."""
        found = self._whose.known(ip) or await self._whose.facts(ip)
        if isinstance(found, Refusal) or node is None:
            return found
        pod = found.caller.pod if isinstance(found.caller, AtPodIp) else None
        if pod is None or pod.node != node:
            self._log.warning("kiam.other_node", ip=ip, agent_node=node, pod_node=pod.node if pod else "")
            return Refusal("no-pod", f"no running pod of node {node} has the address {ip}", because=(_OTHER_NODE,))
        return found

    async def _credentials(self, question: Question, found: Facts | Refusal) -> Issued | Refusal | RolecallError:
        if isinstance(found, Refusal):
            return found
        caller = found.caller
        assert isinstance(caller, AtPodIp), "pods are watched here"
        if question.uid != caller.pod.uid:
            return Refusal("changed", "the address is another pod's now")
        decision = self._dialect.decide(Asked("credentials", "", role=question.role), found)
        if isinstance(decision, Refusal):
            self._tell(caller, question.role, decision.sentence, "KiamRoleForbidden")
            return decision
        return await self._issue(caller, question.role, decision)

    async def _issue(self, caller: AtPodIp, role: str, grant: Grant) -> Issued | RolecallError:
        ask = Ask(peer=caller.address, grant=grant, caller=caller)
        try:
            return self._granted.held(ask) or await self._granted(ask)
        except RolecallError as fault:
            self._tell(caller, role, f"{fault.word}: {fault.message}", "KiamCredentialError")
            return fault

    def _tell(self, caller: AtPodIp, role: str, why: str, reason: str) -> None:
        pod = caller.pod
        self._log.warning("kiam.denied", reason=reason, namespace=pod.namespace, pod=pod.name, role=role[:200], why=why)
        self._denied(caller, reason, role, why)

    def _refuse(self, request: Request, what: str, status: int, fault: RolecallError) -> Reply:
        count(self.answers, f"{what} {fault.word}")
        self._log.warning(
            "kiam.refused", peer=request.peer, what=what, status=status, code=fault.word, why=fault.message
        )
        return Reply(status, fault.message.encode() + b"\n", _TEXT, fault.word)


def _ended(found: object) -> str:
    if isinstance(found, Refusal):
        return found.reason
    return found.word if isinstance(found, RolecallError) else "ok"

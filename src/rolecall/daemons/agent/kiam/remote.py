"""The agent's half: who asks, and their credentials, by kiam's server. Nothing that it said of an address is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rolecall.core.caller import AtPodIp
from rolecall.core.grant import Refusal
from rolecall.core.names import ClusterName
from rolecall.core.source import Ask, Issued, Subject
from rolecall.daemons.agent.metadata.whose import HOLD
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpClient
from rolecall.edges.token_file import read_token
from rolecall.errors import Refused, RolecallError, Upstream
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.identify import address_of
from rolecall.mechanisms.metadata_proxy.remote import wire
from rolecall.mechanisms.metadata_proxy.remote.wire import Question
from rolecall.mechanisms.metadata_proxy.settings import Kiam

_LONGEST_TOKEN = 20_000
_CONNECT = 1.0
_MOST_REPORTS = 16
_CREDENTIALS = 8.0
"""Seconds for credentials: the server's own calls to STS have six."""


class KiamServer:
    """Asks one server; `url` is https, and the client shows a certificate of the agents' authority.

    `token_file` holds the agent's own service-account token, by which the server knows the node. `learned`, which may
    be set, is told the rules by which the server decides: it decides again, so they serve for the agent's words only.
    """

    def __init__(self, url: str, http: HttpClient, cluster: ClusterName, token_file: Path | None) -> None:
        self._origin, base = split_url(url)
        self._base = f"{self._origin}{base.rstrip('/')}"
        self._http, self._cluster, self._token_file = http, cluster, token_file
        self.rules: Kiam | None = None
        self._reports: set[asyncio.Task[None]] = set()
        self.learned: Callable[[Kiam], object] = lambda rules: None

    def known(self, peer: str) -> Facts | Refusal | None:
        """Return None: the server is asked each time, for only it knows who has an address now."""
        return None

    async def facts(self, peer: str) -> Facts | Refusal:
        """Return who has the address; the server waits for a pod that it does not know yet. Raises `Upstream`."""
        address = address_of(peer)
        body = await self._ask(wire.CALLER, Question(address), HOLD + _CONNECT)
        found, rules = wire.decode_caller(body, address, self._cluster)
        if rules != self.rules:
            self.rules = rules
            self.learned(rules)
        return found

    async def credentials(self, ask: Ask) -> Issued:
        """Return the credentials of what was granted. Raises `Refused` where the server decides otherwise."""
        caller, grant = ask.caller, ask.grant
        assert isinstance(caller, AtPodIp), "the corridor asks with it"
        assert grant is not None, "the corridor asks with it"
        question = Question(caller.address, caller.pod.uid, str(grant.role))
        body = await self._ask(wire.CREDENTIALS, question, _CREDENTIALS)
        subject = Subject(caller.pod.namespace, caller.pod.service_account)
        found = wire.decode_credentials(body, subject)
        if isinstance(found, Refusal):
            raise Refused(found)
        return found

    def report(self, found: Facts, role: str) -> None:
        """Have the server refuse it as well, in the background: it writes the Event that the pod's owner reads."""
        if isinstance(found.caller, AtPodIp) and len(self._reports) < _MOST_REPORTS:
            question = Question(found.caller.address, found.caller.pod.uid, role)
            task = asyncio.create_task(self._report(question), name="kiam.report")
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)

    async def _report(self, question: Question) -> None:
        with suppress(RolecallError):  # that the server is away was said to whoever asked
            await self._ask(wire.CREDENTIALS, question, _CREDENTIALS)

    async def health(self) -> str:
        """Return ``ok``, or what the server says is wrong. Raises `Upstream`."""
        answer = await self._http.call(
            "GET", self._base + wire.HEALTH, connect_timeout=_CONNECT, timeout=2.0, longest_body=1024
        )
        return answer.body.decode("utf-8", "replace").strip()[:200]

    async def _ask(self, path: str, question: Question, seconds: float) -> bytes:
        headers = [("content-type", "application/json")]
        if self._token_file is not None:
            headers.append(("authorization", f"Bearer {read_token(self._token_file, _LONGEST_TOKEN).reveal()}"))
        answer = await self._http.call(
            "POST",
            self._base + path,
            headers,
            wire.encode_question(question),
            connect_timeout=_CONNECT,
            timeout=seconds,
            longest_body=wire.LONGEST_ANSWER,
        )
        if answer.status != 200:
            why = answer.body.decode("utf-8", "replace").strip()[:300]
            raise Upstream(f"kiam's server {self._origin} answered {answer.status}: {why}")
        return answer.body

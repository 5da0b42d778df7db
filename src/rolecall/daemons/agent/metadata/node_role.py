"""Generation 0 at the metadata door: every pod is given the node's own role, for the operator asked for it by name.

Nobody is told apart. What pods may read beside it is the allow-list, as in every dialect: the node's credentials are
handed out here, its user data is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection

from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Grant, Refusal
from rolecall.core.names import RoleArn
from rolecall.core.source import Issued
from rolecall.daemons.agent.metadata.corridor import Terms
from rolecall.daemons.agent.metadata.documents import Documents
from rolecall.daemons.agent.metadata.tally import Tally
from rolecall.edges import entropy
from rolecall.edges.aws.imds import INFO, Imds, handed_on
from rolecall.edges.aws.node_credentials import NoNodeCredentials
from rolecall.edges.aws.renewed import RenewedCredentials
from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log
from rolecall.errors import BadName, Refused, RolecallError
from rolecall.mechanisms.host_role import door
from rolecall.mechanisms.host_role.decide import Facts, decide
from rolecall.mechanisms.host_role.identify import identify
from rolecall.mechanisms.host_role.issue import issue
from rolecall.mechanisms.imds import wire
from rolecall.mechanisms.imds.door import Asked, Gate
from rolecall.mechanisms.metadata_proxy.identify import address_of
from rolecall.mechanisms.metadata_proxy.roles import base_of_profile
from rolecall.mechanisms.metadata_proxy.wire import instance_profile

_HELD = 60.0
"""Seconds that the role's name is believed: an instance's profile can be changed while it runs."""


class NodeRole:
    """The node's role, as the node's own service has it."""

    def __init__(self, imds: Imds, documents: Documents, node: str, clock: Clock, log: Log) -> None:
        self._imds, self._documents, self._node, self._clock = imds, documents, node, clock
        self._keys = RenewedCredentials(imds.credentials, where=imds.url, clock=clock, dice=entropy.dice, log=log)
        self._facts: tuple[float, Facts] | None = None
        self._one = asyncio.Lock()

    async def facts(self) -> Facts:
        """Return what is decided by; raises `NoNodeCredentials` where the service does not say it."""
        async with self._one:
            if self._facts is None or self._facts[0] <= self._clock.monotonic():
                self._facts = self._clock.monotonic() + _HELD, await self._ask()
            return self._facts[1]

    async def _ask(self) -> Facts:
        session = (await self._documents("meta-data/instance-id") or b"instance").decode("ascii", "replace")
        profile = instance_profile(await self._imds.document(INFO) or b"")
        role = None
        if profile:
            try:
                role = RoleArn.parse(base_of_profile(profile) + await self._imds.role())
            except BadName as fault:
                raise NoNodeCredentials(f"{self._imds.url} named a role that is none: {fault.message}") from None
        return Facts(identify(self._node), by_name=True, role=role, session=session)

    async def issue(self, grant: Grant) -> Issued:
        """Return the node's credentials; raises `NoNodeCredentials`."""
        session = grant.hops[-1].session.name

        async def fetch(role: RoleArn) -> Issued:
            key, end = await self._keys.current(), self._keys.expires_at
            found = handed_on(key, self._clock.now() if end is None else end, role.account)
            return Issued(found, role.session(session), f"{role.name}:{session}")

        return await issue(grant, fetch)

    async def close(self) -> None:
        """End what is under way."""
        await self._keys.close()


class NodeRoleDoor:
    """Answers requests with the node's role."""

    def __init__(
        self, node: NodeRole, documents: Documents, terms: Terms, allowed: Collection[str], clock: Clock, tally: Tally
    ) -> None:
        self._node, self._documents, self._terms, self._allowed = node, documents, terms, allowed
        self._clock, self._tally = clock, tally

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the reply at once where nobody has to be asked, else a wait for it."""
        terms = self._terms
        gate = Gate(terms.key, address_of(request.peer), terms.required, terms.hosts)
        asked = door.parse(request, gate, allowed=self._allowed, now=self._clock.now())
        if isinstance(asked, Reply):
            return self._tally.answered(request, terms.limited(request, asked), None, None)
        return self._answer(request, asked)

    async def _answer(self, request: Request, asked: Asked) -> Reply:
        started, why = self._clock.monotonic(), ""
        try:
            reply = await (self._document(asked) if asked.what == "document" else self._role(asked))
        except RolecallError as error:
            reply, why = door.render_error(error), error.message
        seconds = self._clock.monotonic() - started
        self._tally.waited.observe(seconds)
        return self._tally.answered(request, reply, asked, None, seconds=seconds, why=why)

    async def _document(self, asked: Asked) -> Reply:
        found = await self._documents(asked.document)
        return wire.error(404, "no-document") if found is None else wire.text(found)

    async def _role(self, asked: Asked) -> Reply:
        decision = decide(asked, await self._node.facts())
        if isinstance(decision, Refusal):
            raise Refused(decision)
        if asked.what == "listing":
            return wire.text(decision.role.name)
        issued = await self._node.issue(decision)
        return door.render(asked, issued, role=decision.role.name, now=self._clock.now())

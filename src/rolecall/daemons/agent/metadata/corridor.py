"""The metadata door's corridor: who asks, what for, may they, and the credentials, in this order for every request.

Nothing about a caller is remembered here: who has the address, and which role that pod may have, is asked anew each
time. Only what was granted, to this very pod, is found in the cache.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Refusal
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask, Issued
from rolecall.daemons.agent.metadata.documents import Documents
from rolecall.daemons.agent.metadata.granted import Granted
from rolecall.daemons.agent.metadata.hot import HotMetadata
from rolecall.daemons.agent.metadata.settings import VERSION_KEY
from rolecall.daemons.agent.metadata.tally import Tally
from rolecall.daemons.agent.metadata.whose import Whose
from rolecall.edges.clock import Clock
from rolecall.errors import RolecallError, ServiceError
from rolecall.mechanisms.imds import wire as imds
from rolecall.mechanisms.imds.door import HOSTS, Asked, Gate
from rolecall.mechanisms.metadata_proxy import door
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.identify import address_of

_NOBODY = Refusal("nobody", "nobody is known at this door")
Denied = Callable[[Facts, str], None]
"""Told of a pod that was refused the role that it asked for."""
_CHANGED = Refusal("changed", "whoever asked is not there any more, or may not have the role any more")


@dataclass(frozen=True, slots=True)
class Terms:
    """How session tokens are given and demanded: the `Gate` of each request is made by these."""

    key: Secret
    required: bool = False
    hops: int = 1
    hosts: Collection[str] = HOSTS

    def limited(self, request: Request, reply: Reply) -> Reply:
        """Return a reply as it leaves: one with a session token goes so many hops and no further."""
        return replace(reply, hops=self.hops) if request.method == "PUT" and reply.status == 200 else reply


class MetadataCorridor:
    """Answers the requests of a metadata door. Without `whose` it knows nobody, and gives documents only."""

    def __init__(
        self, dialect: Dialect, whose: Whose | None, granted: Granted, documents: Documents, terms: Terms, *,
        clock: Clock, tally: Tally,
    ) -> None:  # fmt: skip
        self.dialect, self.whose, self.granted = dialect, whose, granted
        self._documents, self._terms = documents, terms
        self._clock, self.tally = clock, tally
        self.hot = None if whose is None else HotMetadata(whose, granted, tally, clock)
        self.denied: Denied | None = None

    def speak(self, dialect: Dialect) -> None:
        """Answer in this dialect from now on."""
        self.dialect = dialect
        if self.hot is not None:
            self.hot.clear()

    def __call__(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the reply at once where nobody has to be asked or waited for, else a wait for it."""
        found = None if self.whose is None else self.whose.known(request.peer)
        if found is None and self.whose is not None:
            return self._timed(request, self._wait(request, self.whose))
        settled = self._settle(request, found)
        return settled if isinstance(settled, Reply) else self._timed(request, settled)

    async def _timed(self, request: Request, work: Awaitable[Reply]) -> Reply:
        started = self._clock.monotonic()
        try:
            return await work
        except RolecallError as error:  # whoever knows the caller has not said it
            status = error.status if isinstance(error, ServiceError) else 500
            reply = imds.error(status, error.word)
            seconds = self._clock.monotonic() - started
            return self.tally.answered(request, reply, None, None, seconds=seconds, why=error.message)
        finally:
            self.tally.waited.observe(self._clock.monotonic() - started)

    async def _wait(self, request: Request, whose: Whose) -> Reply:
        settled = self._settle(request, await whose.facts(request.peer))
        return settled if isinstance(settled, Reply) else await settled

    def _settle(self, request: Request, found: Facts | Refusal | None) -> Reply | Awaitable[Reply]:
        """Judge a request of this caller; None: of whomever, at a door that knows nobody."""
        who = found.caller if isinstance(found, Facts) else None
        asked = door.parse(request, self._gate(request, found), self.dialect, now=self._clock.now())
        if isinstance(asked, Reply):
            if isinstance(found, Refusal) and request.method == "PUT" and asked.status == 200:
                asked = imds.error(404, found.reason)  # whoever is nobody may be somebody a moment later
            asked = self._terms.limited(request, asked)
            return self.tally.answered(request, asked, None, who)
        if isinstance(found, Refusal) or (found is None and asked.what != "document"):
            return self._refuse(request, asked, found or _NOBODY, None)
        if asked.what == "document":
            return self._document(request, asked, found)
        assert found is not None
        if asked.what == "listing":
            name = self.dialect.listing(found)
            if isinstance(name, Refusal):
                return self._refuse(request, asked, name, found)
            return self.tally.answered(request, self.dialect.render_listing(name), asked, who)
        return self._credentials(request, asked, found)

    def _gate(self, request: Request, found: Facts | Refusal | None) -> Gate:
        """Return how this caller is let in; a token is good for an address together with who has it now."""
        terms, required, source = self._terms, self._terms.required, address_of(request.peer)
        if isinstance(found, Facts):
            source = f"{source} {found.caller.id}"
            required = required or (found.namespace or {}).get(VERSION_KEY) == "required"
        return Gate(terms.key, source, required, terms.hosts)

    def _credentials(self, request: Request, asked: Asked, found: Facts) -> Reply | Awaitable[Reply]:
        decision = self.dialect.decide(asked, found)
        if isinstance(decision, Refusal):
            if self.denied is not None:
                self.denied(found, asked.role)
            return self._refuse(request, asked, decision, found)
        ask = Ask(peer=found.caller.address, grant=decision, caller=found.caller)
        issued = self.granted.held(ask)
        if issued is None:
            return self._ask(request, asked, ask, found)
        return self._hand_out(request, asked, issued, found, ask)

    async def _ask(self, request: Request, asked: Asked, ask: Ask, found: Facts) -> Reply:
        """Have the role assumed, and see that whoever asked is still there and may still have it."""
        started = self._clock.monotonic()
        try:
            issued = await self.granted(ask)
            if not await self._still(request, asked, ask):
                return self._refuse(request, asked, _CHANGED, found)
        except RolecallError as error:
            reply = self.dialect.render_error(asked, error)
            seconds = self._clock.monotonic() - started
            return self.tally.answered(request, reply, asked, found.caller, seconds=seconds, why=error.message)
        return self._hand_out(request, asked, issued, found, ask, self._clock.monotonic() - started)

    async def _still(self, request: Request, asked: Asked, ask: Ask) -> bool:
        if self.whose is None:
            return False
        now = self.whose.known(request.peer) or await self.whose.facts(request.peer)
        if isinstance(now, Refusal) or ask.caller is None or now.caller.id != ask.caller.id:
            return False
        return self.dialect.decide(asked, now) == ask.grant

    def _hand_out(
        self, request: Request, asked: Asked, issued: Issued, found: Facts, ask: Ask, seconds: float = 0.0
    ) -> Reply:
        reply = self.dialect.render(asked, issued, self._clock.now())
        if self.hot is not None:
            until = door.let_in_until(request, self._gate(request, found), now=self._clock.now())
            self.hot.learn(request, found, ask, issued, reply, until)
        return self.tally.answered(request, reply, asked, found.caller, seconds=seconds)

    def _document(self, request: Request, asked: Asked, found: Facts | None) -> Reply | Awaitable[Reply]:
        held = self._documents.held(asked.document)
        if held is None:
            return self._fetch(request, asked, found)
        return self.tally.answered(request, imds.text(held), asked, None if found is None else found.caller)

    async def _fetch(self, request: Request, asked: Asked, found: Facts | None) -> Reply:
        who = None if found is None else found.caller
        try:
            document = await self._documents(asked.document)
        except RolecallError as error:
            return self.tally.answered(request, imds.error(500, error.word), asked, who, why=error.message)
        reply = imds.error(404, "no-document") if document is None else imds.text(document)
        return self.tally.answered(request, reply, asked, who)

    def _refuse(self, request: Request, asked: Asked, refusal: Refusal, found: Facts | None) -> Reply:
        reply = self.dialect.render_refusal(asked, address_of(request.peer), refusal)
        who = None if found is None else found.caller
        return self.tally.answered(request, reply, asked, who, why=refusal.sentence)

"""What an AWSIAMRole is told about itself: its status, and Events with the original's reasons and words."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from rolecall.core.grant import Grant
from rolecall.core.source import Issued
from rolecall.daemons.controller import wire
from rolecall.daemons.controller.events import Recorder
from rolecall.daemons.controller.stores import Roles
from rolecall.daemons.controller.wire import LONGEST_MESSAGE, Seen, State, Told
from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError
from rolecall.mechanisms.metadata_proxy.secret_files import Held, Resource, moment


class StatusApi(Protocol):
    """The API server (`rolecall.edges.kube.client.KubeClient`)."""

    async def patch(self, path: str, body: bytes) -> bytearray: ...


class Saying:
    """Writes statuses and Events."""

    def __init__(self, api: StatusApi, recorder: Recorder, roles: Roles, *, clock: Clock, log: Log) -> None:
        self._api, self._recorder, self._roles = api, recorder, roles
        self._clock, self._log = clock, log

    async def ready(self, seen: Seen, grant: Grant, held: Held) -> None:
        """Write that the Secret is as it should be."""
        shortened = [text for text in grant.because if text.startswith("roleSessionDuration")]
        message = "; ".join(["the Secret has credentials", *shortened])
        await self._say(seen, held, State(ready=True, reason="CredentialsIssued", message=message))

    async def issued(self, resource: Resource, held: Held | None, grant: Grant, issued: Issued) -> None:
        """Tell of new credentials in the place of what was held."""
        ends = moment(issued.credentials.expires_at).replace("T", " ").replace("Z", " +0000 UTC")  # as Go prints it
        reason, verb = ("UpdateCredentials", "Updated") if held else ("CreateCredentials", "Created")
        message = f"{verb} credentials for role '{grant.role}', expiry time: {ends}"
        await self._recorder.tell(Told(resource, reason, message, normal=True))

    async def failed(self, seen: Seen, held: Held | None, event: str, word: str, message: str) -> None:
        """Write status and Event of what did not work; where even that fails, what did not work is what counts."""
        message = message[:LONGEST_MESSAGE]
        try:
            await self._say(seen, held, State(reason=_camel(word), message=message))
        except RolecallError as error:
            self._log.debug("controller.status_not_written", why=error.message)
        await self._recorder.tell(Told(seen.resource, event, message))

    async def _say(self, seen: Seen, held: Held | None, state: State) -> None:
        """Write the status where it says something else. A definition without conditions drops them: it is written
        at each look then."""
        before = (self._roles.get(seen.key) or seen).state
        since = before.since if before.since and before.ready == state.ready else moment(self._clock.now())
        ends = "" if held is None or held.expires_at is None else moment(held.expires_at)
        arn = "" if held is None else held.role_arn
        state = replace(state, generation=seen.resource.generation, role_arn=arn, expiration=ends, since=since)
        if state != before:
            place = wire.path(wire.ROLES, *seen.key, sub="status")
            self._roles.put(wire.read_role(await self._api.patch(place, wire.new_status(seen.resource, state))))


def _camel(word: str) -> str:
    """Return a word as conditions have it: ``NamespaceForbids``."""
    parts = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in word).split()
    found = "".join(part[0].upper() + part[1:] for part in parts)[:128]
    return found if found[:1].isalpha() else f"Code{found}"

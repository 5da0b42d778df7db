"""One AWSIAMRole looked at: what is there against what should be, and the writes that bring them together.

Nothing is remembered from one look to the next but what the watches know, so that any replica may do the next one. What
is written is what was seen: a Secret with another version, and a foreign one, are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rolecall.core.grant import Grant, Refusal
from rolecall.core.session import LONGEST_CHAINED_SESSION
from rolecall.core.source import Issued
from rolecall.daemons.controller import wire
from rolecall.daemons.controller.queue import Key
from rolecall.daemons.controller.saying import Saying
from rolecall.daemons.controller.stores import Namespaces, Roles, Secrets
from rolecall.daemons.controller.wire import Seen
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import ApiError
from rolecall.edges.limits import TokenBucket
from rolecall.edges.metrics import count
from rolecall.edges.telemetry import Log
from rolecall.errors import Refused, RolecallError, Upstream
from rolecall.mechanisms.metadata_proxy import secret_files
from rolecall.mechanisms.metadata_proxy.issue import Assume
from rolecall.mechanisms.metadata_proxy.secret_files import Held, Resource, moment
from rolecall.mechanisms.metadata_proxy.settings import SecretFiles

NOT_FOUND, CONFLICT = 404, 409
SOON = 1.0
"""Seconds until what the watches have not brought yet is looked for again."""


class Objects(Protocol):
    """The API server; each write raises `NotLeading` where this replica may not write."""

    async def get(self, path: str) -> bytearray: ...

    async def meta(self, path: str) -> bytearray: ...

    async def create(self, path: str, body: bytes) -> bytearray: ...

    async def patch(self, path: str, body: bytes, *, kind: str = "merge-patch") -> bytearray: ...

    async def delete(self, path: str, options: bytes = b"") -> bytearray: ...

    def check(self) -> None: ...


class Reconciler:
    """Looks at one AWSIAMRole at a time. `resync` is how often one is looked at where nothing changes, in seconds.

    `issued` counts sessions by why they were asked for, `refusals` by reason, `deleted` Secrets.
    """

    def __init__(
        self, rules: SecretFiles, objects: Objects, assume: Assume, saying: Saying, pace: TokenBucket,
        *,
        roles: Roles, secrets: Secrets, namespaces: Namespaces, clock: Clock, log: Log, resync: float,
        dice: Callable[[], float],
    ) -> None:  # fmt: skip
        self._rules, self._objects, self._assume, self._saying, self._pace = rules, objects, assume, saying, pace
        self._roles, self._secrets, self._namespaces = roles, secrets, namespaces
        self._clock, self._log, self._resync, self._dice = clock, log, resync, dice
        self._last: dict[Key, tuple[float, str]] = {}
        self.issued: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self.deleted = 0

    async def __call__(self, key: Key) -> float | None:
        """Look at one; return after how many seconds to look again. Raises `RolecallError` where it is not as it should
        be."""
        seen, held = self._roles.get(key), self._secrets.get(key)
        if seen is None:
            self._last.pop(key, None)
            await self._gone(key, held)
            return None
        if seen.resource.ending:
            return None
        if held is not None and seen.resource.uid not in held.owners:
            return await self._not_its_own(seen, held)
        decision = secret_files.decide(self._rules, seen.resource, self._namespaces.get(key[0]))
        if isinstance(decision, Refusal):
            return await self._refuse(seen, decision, held)
        plan = secret_files.renewal(self._rules, seen.resource, decision, held, self._clock.now())
        if plan.at <= self._clock.now() and (plan.why != "ending" or self._rest(held, decision) <= 0):
            if held is None and (found := await self._unlabelled(key)) is not None:
                return SOON if seen.resource.uid in found.owners else await self._foreign(seen)
            held = await self._issue(seen, decision, held, plan.why)
            plan = secret_files.renewal(self._rules, seen.resource, decision, held, self._clock.now())
        assert held is not None, "what is missing is issued now"
        await self._saying.ready(seen, decision, held)
        wait = max(plan.at - self._clock.now(), self._rest(held, decision))
        return max(SOON, min(wait, self._later()))

    def _rest(self, held: Held | None, grant: Grant) -> float:
        """Return the seconds until a third of the life of the session that we wrote has passed, by the clock that
        nobody sets: where STS gave a shorter one, or clocks disagree, none is asked for before."""
        last = None if held is None else self._last.get((held.namespace, held.name))
        if last is None or held is None or last[1] != held.version:
            return 0.0
        shortest = min(grant.hops[-1].session.duration, LONGEST_CHAINED_SESSION)  # that STS may have given
        return last[0] + shortest / 3 - self._clock.monotonic()

    def _later(self) -> float:
        """Return the seconds until one is looked at though nothing has changed; by chance, for many begin at once."""
        return self._resync * (0.75 + 0.25 * self._dice())

    # --- what is not to be there -----------------------------------------------------------------------

    async def _gone(self, key: Key, held: Held | None) -> None:
        """Delete the Secret of an AWSIAMRole that is gone; usually the garbage collector has been quicker."""
        if held is None or not held.owners:
            return  # with our labels and nobody's: whoever made it may keep it
        if await self._live(key) is not None:
            raise Upstream("the AWSIAMRole is there, and the watch has not brought it yet")
        await self._delete(held, "its AWSIAMRole is gone")

    async def _not_its_own(self, seen: Seen, held: Held) -> float | None:
        """Delete what a former AWSIAMRole of this name left; leave alone what never was one's."""
        if not held.owners:
            return await self._foreign(seen)
        live = await self._live(seen.key)
        if live is not None and live.resource.uid in held.owners:
            return SOON  # the Secret is newer than what we know of the AWSIAMRole
        await self._delete(held, "it is of a former AWSIAMRole of this name")
        return 0.0

    async def _live(self, key: Key) -> Seen | None:
        try:
            return wire.read_role(await self._objects.get(wire.path(wire.ROLES, *key)))
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None

    async def _delete(self, held: Held, why: str) -> None:
        try:
            await self._objects.delete(wire.path(wire.SECRETS, held.namespace, held.name), wire.only_if(held))
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
        self._secrets.drop(held)
        self.deleted += 1
        self._log.info("controller.deleted", namespace=held.namespace, name=held.name, role=held.role_arn, why=why)

    # --- what is refused -------------------------------------------------------------------------------

    async def _refuse(self, seen: Seen, refusal: Refusal, held: Held | None) -> float:
        """Say why not. What somebody decided against is taken away; what cannot be read is only not renewed."""
        if refusal.reason == "namespace-unknown":
            raise Refused(refusal)
        count(self.refusals, refusal.reason)
        message = f"{refusal.sentence}; {refusal.hint}" if refusal.hint else refusal.sentence
        if held is not None and secret_files.withdraws(refusal):
            await self._delete(held, refusal.sentence)
            held = None
        await self._saying.failed(seen, held, "RoleRefused", refusal.reason, message)
        return self._later()

    async def _foreign(self, seen: Seen) -> float:
        """Say that the Secret's name is taken; whether it is still is not watched, but looked at now and then."""
        namespace, name = seen.key
        count(self.refusals, "foreign-secret")
        why = f"Failed to create secret {namespace}/{name} with credentials: it is there, and was not made by us"
        message = f"{why}; delete or rename it"
        await self._saying.failed(seen, None, "CreateSecretFailed", "foreign-secret", message)
        return self._later()

    async def _unlabelled(self, key: Key) -> Held | None:
        """Return the Secret that is there though no watch has brought it; it is asked for before STS is. What it holds
        stays where it is: it may be anybody's."""
        try:
            return wire.read_secret(await self._objects.meta(wire.path(wire.SECRETS, *key)))
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None

    # --- what is issued --------------------------------------------------------------------------------

    async def _issue(self, seen: Seen, grant: Grant, held: Held | None, why: str) -> Held:
        """Get credentials, and write them into the Secret; return it as it is now."""
        issued = await self._credentials(seen, grant, held)
        files = secret_files.files(issued, grant.role, seen.resource.generation)
        try:
            after = await self._write(seen.resource, held, files)
        except ApiError as error:
            if error.status != CONFLICT:
                verb, reason = ("update", "UpdateSecretFailed") if held else ("create", "CreateSecretFailed")
                where = f"{seen.resource.namespace}/{seen.resource.name}"
                message = f"Failed to {verb} secret {where} with credentials: {error.message}"
                await self._saying.failed(seen, held, reason, "secret-not-written", message)
            raise
        self._last[seen.key] = self._clock.monotonic(), after.version
        self._secrets.put(after)
        count(self.issued, why)
        self._audit(seen.resource, issued, grant, why)
        await self._saying.issued(seen.resource, held, grant, issued)
        return after

    async def _credentials(self, seen: Seen, grant: Grant, held: Held | None) -> Issued:
        if (wait := self._pace.reserve()) > 0:
            await self._clock.sleep(wait)
        self._objects.check()
        try:
            return await self._assume(grant.hops[-1])
        except RolecallError as error:
            message = f"Failed to get credentials for role '{seen.resource.reference}': {error.word}: {error.message}"
            self._log.warning(
                "controller.not_issued", namespace=seen.key[0], name=seen.key[1], role=str(grant.role),
                code=error.word, why=error.message, hint=error.hint,
            )  # fmt: skip
            await self._saying.failed(seen, held, "GetCredentialsFailed", error.word, message)
            raise

    async def _write(self, resource: Resource, held: Held | None, files: secret_files.Files) -> Held:
        secrets = wire.path(wire.SECRETS, resource.namespace)
        if held is None:
            return wire.read_secret(await self._objects.create(secrets, wire.new_secret(resource, files)))
        place = f"{secrets}/{resource.name}"
        try:
            body = wire.changed_secret(resource, held, files)
            return wire.read_secret(await self._objects.patch(place, body, kind="json-patch"))
        except ApiError as error:
            if error.status != CONFLICT:
                raise
        now = wire.read_secret(await self._objects.meta(place))  # somebody has changed something else of it
        if now.uid != held.uid or resource.uid not in now.owners:
            raise Upstream(f"the Secret {resource.namespace}/{resource.name} is another one by now")
        body = wire.changed_secret(resource, now, files)
        return wire.read_secret(await self._objects.patch(place, body, kind="json-patch"))

    def _audit(self, resource: Resource, issued: Issued, grant: Grant, why: str) -> None:
        self._log.info(
            "controller.issued", namespace=resource.namespace, name=resource.name, uid=resource.uid,
            role=str(grant.role), role_session=issued.assumed_role_arn, because=list(grant.because), why=why,
            expires=moment(issued.credentials.expires_at), request_id=issued.request_id,
        )  # fmt: skip

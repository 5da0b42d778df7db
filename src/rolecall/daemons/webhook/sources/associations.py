"""Associations of Rolecall's own server, by the EKS API: listed again and again, and asked for singly in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from rolecall.core.exchange import Request
from rolecall.core.names import ClusterName
from rolecall.daemons.webhook.sources import wire
from rolecall.daemons.webhook.sources.look_ups import LookUpRules, LookUps
from rolecall.edges.aws.authentication import Authentication
from rolecall.edges.clock import Clock, within
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpClient
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, Upstream
from rolecall.mechanisms.pod_identity.wire import decode_error

EVERY = 2.0
"""Seconds between two lists."""
LONGEST = 60.0
"""Seconds of one list, all its pages."""
LONGEST_PAGE = 4 << 20
MOST = 100_000
"""Associations of one cluster; EKS has at most 5,000."""

AT_ONCE = 4
"""Questions for single associations at once: each has a thread for its time, and the list another."""
_HINTS = {
    403: "does it show what --server takes, and may it eks:ListPodIdentityAssociations?",
    404: "is --cluster the cluster's name at --server?",
}

Key = tuple[str, str]


class ServerAssociations:
    """Who has an association at a server, and by which id; `fault` is why the server could not be asked last.

    A list replaces what is held. What was known stays known while the server is away.
    """

    name = "associations"

    def __init__(
        self, endpoint: str, cluster: ClusterName, *, http: HttpClient, authentication: Authentication,
        clock: Clock,
        log: Log,
        rules: LookUpRules,
        dice: Callable[[], float],
    ) -> None:  # fmt: skip
        self._origin, base = split_url(endpoint)
        self._path = base.rstrip("/") + wire.associations_path(cluster)
        self._http, self._authentication = http, authentication
        self._clock, self._log, self._dice = clock, log, dice
        self._held: dict[Key, str] = {}
        self.look_ups = LookUps(self._one, clock=clock, rules=replace(rules, most=AT_ONCE))
        self.listed = asyncio.Event()
        self.fault = ""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def live(self) -> bool:
        """Whether the last list came."""
        return not self.fault

    def find(self, namespace: str, name: str) -> str | None:
        """Return the id of a service account's association, or None."""
        return self._held.get((namespace, name))

    async def look_up(self, namespace: str, name: str) -> str | None:
        """Ask the server for it, as it is now. Raises `Upstream`."""
        return await self.look_ups(namespace, name)

    async def run(self) -> None:
        """List again and again, for ever."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY * (0.75 + 0.5 * self._dice()))

    async def close(self) -> None:
        """End the look-ups."""
        await self.look_ups.close()

    async def look(self) -> None:
        """List once; what cannot be asked is said once, and changes nothing."""
        try:
            self._held = dict(await within(self._clock, LONGEST, self._pages(None)))
        except TimeoutError:
            self._fail(f"{self._origin} has not listed its associations within {LONGEST:g} s")
        except RolecallError as fault:
            self._fail(fault.message, fault.hint)
        else:
            if self.fault:
                self._log.info("associations.listed_again", number=len(self))
            self.fault = ""
            self.listed.set()

    def _fail(self, why: str, hint: str = "") -> None:
        if not self.fault:
            self._log.warning("associations.not_listed", why=why, hint=hint)
        self.fault = why

    async def _one(self, namespace: str, name: str) -> str | None:
        found = dict(await self._pages((namespace, name)))
        return found.get((namespace, name))

    async def _pages(self, narrowed: Key | None) -> list[tuple[Key, str]]:
        found: list[tuple[Key, str]] = []
        asked = {after := ""}
        while True:
            page, after = wire.decode_associations(await self._get(narrowed, after))
            found += page
            if not after:
                return found
            if len(found) > MOST or len(asked) > MOST or after in asked:  # a page may be empty, and lead on
                raise Upstream(f"{self._origin} has more than {MOST} associations, or lists for ever")
            asked.add(after)

    async def _get(self, narrowed: Key | None, after: str) -> bytes:
        target = f"{self._path}?{wire.associations_query(narrowed, after)}"
        request = await self._authentication(Request("GET", target, (("host", self._origin.authority),)))
        answer = await self._http.call(
            "GET",
            f"{self._origin}{target}",
            request.headers,
            connect_timeout=1.0,
            timeout=3.0,
            longest_body=LONGEST_PAGE,
        )
        if answer.status == 200:
            return answer.body
        error = decode_error(answer.status, answer.headers, answer.body)
        raise Upstream(
            f"{self._origin} lists no associations: {error.code} ({answer.status}): {error.message}",
            hint=_HINTS.get(answer.status, ""),
        )

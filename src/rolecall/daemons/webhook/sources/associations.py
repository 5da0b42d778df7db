"""Associations of Rolecall's own server, by the EKS API: listed again and again, and asked for singly in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rolecall.core.exchange import Request
from rolecall.core.names import ClusterName
from rolecall.daemons.webhook.sources import wire
from rolecall.daemons.webhook.sources.look_ups import LookUpRules, LookUps
from rolecall.edges.aws.authentication import Authentication
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient, split_url
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, Upstream

EVERY = 2.0
"""Seconds between two lists."""
LONGEST_PAGE = 4 << 20
MOST = 100_000
"""Associations of one cluster; EKS has at most 5,000."""

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
        self.look_ups = LookUps(self._one, clock=clock, rules=rules)
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
            self._held = dict(await self._pages(None))
        except RolecallError as fault:
            if not self.fault:
                self._log.warning("associations.not_listed", why=fault.message, hint=fault.hint)
            self.fault = fault.message
            return
        if self.fault:
            self._log.info("associations.listed_again", number=len(self))
        self.fault = ""
        self.listed.set()

    async def _one(self, namespace: str, name: str) -> str | None:
        found = dict(await self._pages((namespace, name)))
        return found.get((namespace, name))

    async def _pages(self, narrowed: Key | None) -> list[tuple[Key, str]]:
        found: list[tuple[Key, str]] = []
        after = ""
        while True:
            page, after = wire.decode_associations(await self._get(narrowed, after))
            found += page
            if not after:
                return found
            if len(found) > MOST or not page:
                raise Upstream(f"{self._origin} has more than {MOST} associations, or lists for ever")

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
        if answer.status != 200:
            raise Upstream(f"{self._origin} answered the question for associations with status {answer.status}")
        return answer.body

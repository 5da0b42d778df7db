"""Keeps the cache from outliving what the server knows: a deleted or changed association is forgotten in seconds.

Only Rolecall's own server can be asked; at any other the cache ends with its credentials, as AWS's agent has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from rolecall.core.names import ClusterName
from rolecall.core.records import Revocations
from rolecall.edges.aws.revocations import NotOffered
from rolecall.edges.cache import CredentialCache
from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

EVERY = 2.0
"""Seconds between two questions, for each cluster that this agent serves."""

Ask = Callable[[ClusterName, int], Awaitable[Revocations]]


class RevocationWatch:
    """Asks again and again, and has the cache forget.

    `clusters` says which clusters are served now. A server that cannot be asked is asked again: what is held is
    kept meanwhile (an outage must not cost a pod its credentials), and forgotten once it can be asked. `unanswered`
    says that it was asked, and that no answer has come yet, or never will.
    """

    def __init__(
        self, ask: Ask, cache: CredentialCache, *, clusters: Callable[[], Iterable[ClusterName]], clock: Clock, log: Log
    ) -> None:
        self._ask, self._cache = ask, cache
        self._clusters, self._clock, self._log = clusters, clock, log
        self._seen: dict[ClusterName, int] = {}
        self._failing = False
        self.unanswered = False

    async def run(self) -> None:
        """Ask until cancelled, or until the server says that it has no such list."""
        while True:
            try:
                for cluster in list(self._clusters()):
                    await self._look(cluster)
                self._failing = False
            except NotOffered as fault:
                self._log.info("agent.revocations_not_offered", why=fault.message)
                self.unanswered = True
                return
            except RolecallError as fault:
                if not self._failing:
                    self._log.warning("agent.revocations_unknown", why=fault.message)
                self._failing = True
                self.unanswered = not self._seen
            except Exception as error:  # noqa: BLE001 - a defect here must not end the watch in silence
                self._log.crash("agent.revocations_crashed", error)
            await self._clock.sleep(EVERY)

    async def _look(self, cluster: ClusterName) -> None:
        after = self._seen.get(cluster, -1)
        revoked = await self._ask(cluster, after)
        self._seen[cluster] = revoked.seq
        self.unanswered = False
        if after < 0 or not revoked.whole:  # what was issued before the first answer may be over already
            if self._cache.recall is not None:
                self._cache.recall.forget()
            if not len(self._cache):
                return
            self._log.warning("agent.revoked", cluster=cluster, entries=self._cache.revoke_all(), everything=True)
        elif revoked.association_ids:
            dropped = self._cache.revoke(frozenset(revoked.association_ids))
            self._log.info("agent.revoked", cluster=cluster, entries=dropped, associations=len(revoked.association_ids))

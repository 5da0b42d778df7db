"""Keeps what an agent holds for the agent after it, and hands it out again to pods that are known to live.

A restarted agent knows nothing, and during an outage of EKS Auth it could learn nothing. What the one before held is
in a file (`rolecall.edges.warm_file`). An entry of it is found by the whole token, which upstream has confirmed for
the agent before; it is handed out where the token's pod is known to live, and confirmed again in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from itertools import islice

from rolecall.core.source import Ask
from rolecall.daemons.agent.config import AgentConfig
from rolecall.daemons.agent.warm.wire import NotReadable, Reader, decode, encode
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_entry import Kept
from rolecall.edges.clock import Clock
from rolecall.edges.metrics import count
from rolecall.edges.telemetry import Log
from rolecall.edges.warm_file import Unusable, WarmFile
from rolecall.errors import RolecallError
from rolecall.mechanisms.pod_identity import door

EVERY = 5.0
"""Seconds between two writings at least, which is what a kill can cost. What has not changed is not written again."""

Lives = Callable[[str], bool]
"""Whether the pod of this UID is known to run on this node now: False where nobody knows."""


class WarmRestart:
    """What the agent before held, until it is asked for, and the writing of what this one holds.

    `may` says whether anything may be handed out now, besides `lives`. `load` has the cache ask for it. `writings`
    counts by how they ended.
    """

    def __init__(
        self,
        file: WarmFile,
        reader: Reader,
        cache: CredentialCache,
        *,
        lives: Lives,
        may: Callable[[], bool],
        clock: Clock,
        log: Log,
    ) -> None:
        self._file, self._reader, self._cache = file, reader, cache
        self._lives, self._may = lives, may
        self._clock, self._log = clock, log
        self._waiting: dict[bytes, Kept] = {}
        self._written = -1
        self._failing = False
        self._task: asyncio.Task[None] | None = None
        self.writings: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def load(self) -> None:
        """Read what is there, and have the cache ask for it; what cannot be used is removed, with a warning."""
        try:
            found = self._file.read()
            entries = [] if found is None else decode(self._reader, found)
        except (NotReadable, Unusable, OSError, RolecallError) as fault:
            self._log.warning("warm.ignored", file=str(self._file.path), why=_why(fault))
            self._remove()
            entries = []
        now = self._clock.now()
        alive = [kept for kept in entries if now < kept.ends_at]
        self._waiting = {kept.token: kept for kept in alive[-self._cache.rules.size :]}
        self._cache.recall = self
        if entries:
            self._log.info("warm.read", entries=len(self._waiting), over=len(entries) - len(alive))

    def take(self, token: bytes, ask: Ask) -> Kept | None:
        """Return what was kept for the token of this digest, once, where it may be handed out."""
        kept = self._waiting.get(token)
        if kept is None or not self._may():
            return None
        uid = _pod_uid(ask)
        if uid is None or not self._lives(uid):
            return None
        del self._waiting[token]
        return kept

    def forget(self, association_ids: Collection[str] | None = None) -> None:
        """Forget what was issued by these associations, or all of it; in the file with the next writing."""
        self._written = -1
        self._waiting = {
            token: kept
            for token, kept in self._waiting.items()
            if association_ids is not None and kept.issued.association_id not in association_ids
        }

    def start(self) -> None:
        """Begin to write again and again: who is killed tells nobody."""
        self._task = asyncio.create_task(self._run(), name="agent.warm")

    async def close(self) -> None:
        """Write the last time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._save_or_say()

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(EVERY)
            await self._save_or_say()

    async def _save_or_say(self) -> None:
        try:
            await self.save()
        except Exception as error:  # noqa: BLE001 - a defect here must end neither the writing nor the agent's close
            self._log.crash("warm.crashed", error)

    async def save(self) -> None:
        """Write what is held now, in a thread, where it is not what was written last. What fails is logged."""
        now, changes = self._clock.now(), self._cache.changes
        over = [token for token, kept in self._waiting.items() if now >= kept.ends_at]
        for token in over:
            del self._waiting[token]
        if changes == self._written and not over:
            return
        entries = [*self._waiting.values(), *self._cache.kept()]
        most = self._cache.rules.size
        parts = encode(self._reader, islice(entries, max(0, len(entries) - most), None))
        try:
            await asyncio.to_thread(self._file.write, parts)
            self._written, self._failing = changes, False
            count(self.writings, "ok")
        except (Unusable, OSError, RolecallError) as fault:
            count(self.writings, "failed")
            if not self._failing:
                self._log.warning("warm.not_written", file=str(self._file.path), why=_why(fault))
            self._failing = True

    def _remove(self) -> None:
        try:
            self._file.remove()
        except (OSError, RolecallError) as fault:
            self._log.warning("warm.not_removed", file=str(self._file.path), why=_why(fault))


def warm_restart(
    config: AgentConfig, cache: CredentialCache, lives: Lives, may: Callable[[], bool], clock: Clock, log: Log
) -> WarmRestart | None:
    """Return what the settings ask for, with what is there loaded; None where it cannot be, which is logged.

    A file that must not be used is a reason to go without, and none to leave the pods of a node without an agent.
    """
    assert config.warm_file is not None
    try:
        file = WarmFile(config.warm_file)
    except RolecallError as fault:
        log.warning("warm.off", file=str(config.warm_file), why=fault.message, hint=fault.hint)
        return None
    cluster = str(config.clusters_file) if config.cluster is None else str(config.cluster)
    reader = Reader(cluster, str(config.region or ""), config.endpoint or "", config.node or "")
    warm = WarmRestart(file, reader, cache, lives=lives, may=may, clock=clock, log=log)
    warm.load()
    return warm


def _why(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return fault.strerror or type(fault).__name__
    return fault.message if isinstance(fault, RolecallError) else str(fault)


def _pod_uid(ask: Ask) -> str | None:
    """Return the pod that the ask's token is bound to. Upstream has confirmed this very token before."""
    found = door.payload_of(ask).get("kubernetes.io")
    pod = found.get("pod") if isinstance(found, dict) else None
    uid = pod.get("uid") if isinstance(pod, dict) else None
    return uid if isinstance(uid, str) and uid else None

"""The ConfigMap of AWS's webhook: roles for service accounts that have no annotation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rolecall.daemons.webhook.rules import ConfigEntry
from rolecall.daemons.webhook.sources import wire
from rolecall.daemons.webhook.sources.table import Table
from rolecall.edges.kube.watch import Watch, Watched
from rolecall.edges.kube.wire import ConfigMap
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput

NAME, KEY = "pod-identity-webhook", "config"
Data = dict[str, str] | None


class ConfigMapRoles:
    """The entries of one ConfigMap; a watch fills it. A bad entry is left out, a bad map changes nothing.

    `watch_with` must be given the watch before `run`.
    """

    name = "config-map"

    def __init__(self, *, log: Log) -> None:
        self._log = log
        self._table: Table[ConfigEntry] = Table()
        self._watch: Watch[ConfigMap, Data] | None = None
        self._wrong = ""
        self.listed = asyncio.Event()

    @staticmethod
    def watched(namespace: str) -> Watched[ConfigMap, Data]:
        """Return what to watch: the one map."""
        here = (("fieldSelector", f"metadata.name={NAME}"),)
        return Watched(f"/api/v1/namespaces/{namespace}/configmaps", ConfigMap, lambda found: found.data, here)

    def watch_with(self, watch: Watch[ConfigMap, Data]) -> None:
        """Be told of changes by this watch."""
        self._watch, self.listed = watch, watch.listed

    @property
    def fault(self) -> str:
        """What is wrong with the map as it is now, or why changes of it do not arrive."""
        return self._wrong or (self._watch.failing if self._watch is not None else "")

    async def run(self) -> None:
        """Watch, for ever."""
        assert self._watch is not None
        await self._watch.run()

    def __len__(self) -> int:
        return len(self._table)

    def find(self, namespace: str, name: str) -> ConfigEntry | None:
        """Return the entry of a service account, or None."""
        return self._table.find(namespace, name)

    def replace(self, objects: Sequence[Data]) -> None:
        """Take the map, or forget it where there is none."""
        if objects:
            self.put(objects[0])
        else:
            self._forget()

    def put(self, found: Data) -> None:
        """Take the map's data; one without ``config`` has no entries."""
        try:
            entries, faults = wire.decode_config((found or {}).get(KEY, ""))
        except BadInput as fault:
            self._wrong = fault.message
            self._log.warning("config_map.not_usable", why=fault.message, kept=len(self))
            return
        self._table = Table(entries)
        self._wrong = "; ".join(faults[:5])
        if faults:
            self._log.warning("config_map.left_out", number=len(faults), entries=faults[:5])
        self._log.info("config_map.read", number=len(self))

    def drop(self, found: Data) -> None:
        """Forget all entries: the map was deleted."""
        self._forget()

    def _forget(self) -> None:
        if len(self) or self._wrong:
            self._log.info("config_map.gone")
        self._table, self._wrong = Table(), ""

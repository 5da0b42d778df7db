"""The ConfigMap of AWS's webhook: roles for service accounts that have no annotation."""

from __future__ import annotations

import asyncio

from rolecall.daemons.webhook.rules import ConfigEntry
from rolecall.daemons.webhook.sources import wire
from rolecall.daemons.webhook.sources.table import Table
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput

NAME, KEY = "pod-identity-webhook", "config"


class ConfigMapRoles:
    """The entries of one ConfigMap; a watch fills it. A bad entry is left out, a bad map changes nothing.

    `fault` says what is wrong with the map as it is now.
    """

    name = "config-map"

    def __init__(self, *, log: Log) -> None:
        self._log = log
        self._table: Table[ConfigEntry] = Table()
        self.listed = asyncio.Event()
        self.fault = ""

    def __len__(self) -> int:
        return len(self._table)

    def find(self, namespace: str, name: str) -> ConfigEntry | None:
        """Return the entry of a service account, or None."""
        return self._table.find(namespace, name)

    def put(self, data: dict[str, str] | None) -> None:
        """Take the map's data; one without ``config`` has no entries."""
        try:
            found, faults = wire.decode_config((data or {}).get(KEY, ""))
        except BadInput as fault:
            self.fault = fault.message
            self._log.warning("config_map.not_usable", why=fault.message, kept=len(self))
            return
        self._table = Table(found)
        self.fault = "; ".join(faults[:5])
        if faults:
            self._log.warning("config_map.left_out", number=len(faults), entries=faults[:5])
        self._log.info("config_map.read", number=len(self))

    def drop(self) -> None:
        """Forget all entries: the map was deleted."""
        self._table, self.fault = Table(), ""
        self._log.info("config_map.gone")

"""The file that says who has an association, as EKS mounts it: which role, EKS Auth knows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rolecall.daemons.webhook.sources import wire
from rolecall.daemons.webhook.sources.table import Table
from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log
from rolecall.edges.watched_file import WatchedFile
from rolecall.errors import RolecallError

EVERY = 1.0
"""Seconds between two looks at the file."""
LONGEST = 16 << 20


class Identities:
    """Who the file names; a missing or empty file names nobody, one that cannot be read changes nothing.

    `fault` says what is wrong with the file as it is now. Set `listed` before the first question is answered.
    """

    name = "identities"

    def __init__(self, path: Path, *, clock: Clock, log: Log) -> None:
        self._file = WatchedFile(path, longest=LONGEST)
        self._clock, self._log = clock, log
        self._table: Table[str] = Table()
        self.listed = asyncio.Event()
        self.fault = ""

    def __len__(self) -> int:
        return len(self._table)

    def find(self, namespace: str, name: str) -> str | None:
        """Return what to call the association by, or None where the file does not name the service account."""
        return self._table.find(namespace, name)

    async def run(self) -> None:
        """Look at the file, for ever."""
        while True:
            self.look()
            await self._clock.sleep(EVERY)

    def look(self, *, again: bool = False) -> None:
        """Read the file where it has changed, or in any case."""
        if not self._file.changed() and not again:
            return
        try:
            found, faults = wire.decode_identities(self._file.read() or b"")
        except RolecallError as fault:
            self.fault = fault.message
            self._log.warning("identities.not_usable", file=self._file.path, why=fault.message, kept=len(self))
            return
        where = f"in {self._file.path.name}"
        self._table = Table((key, where) for key in found)
        self.fault = "; ".join(faults[:5])
        if faults:
            self._log.warning("identities.left_out", file=self._file.path, number=len(faults), entries=faults[:5])
        self._log.info("identities.read", file=self._file.path, number=len(self))
        self.listed.set()

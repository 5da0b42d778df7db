"""An SQLite database on a thread of its own: one transaction at a time, answered after commit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rolecall.errors import Misconfigured, RolecallError

Tx = sqlite3.Connection
"""A transaction that is open: what every unit of work is handed."""
Row = sqlite3.Row

Answer = TypeVar("Answer")
Work = Callable[[Tx], Answer]


_OURS = 0x526F6C65  # "Role": what application_id tells a database of ours by


class StoreFailed(RolecallError):
    """The database could not be read or written; nothing of the transaction was kept."""


class Database:
    """One SQLite file. `run` is the only way in.

    Every unit of work is one ``BEGIN IMMEDIATE`` transaction, and its result is handed out only after the
    commit has reached the disk (WAL with ``synchronous=FULL``): a ``kill -9`` loses nothing that was answered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None

    async def open(self, migrations: tuple[str, ...]) -> None:
        """Open the file and bring its schema up to date.

        `migrations` are SQL scripts; number n brings version n to n+1. Raises `Misconfigured` for a file that
        is not ours or that a newer version wrote.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open, migrations)

    def _open(self, migrations: tuple[str, ...]) -> None:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, isolation_level=None)
            connection.row_factory = sqlite3.Row
            version = self._version(connection, len(migrations))
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            for number in range(version, len(migrations)):
                connection.executescript(
                    f"BEGIN IMMEDIATE;\n{migrations[number]}\nPRAGMA application_id={_OURS};\n"
                    f"PRAGMA user_version={number + 1};\nCOMMIT;"
                )
        except (sqlite3.Error, Misconfigured) as fault:
            if connection is not None:
                connection.close()
            if isinstance(fault, Misconfigured):
                raise
            raise Misconfigured(
                f"{self._path} cannot be used as a database: {fault}",
                hint="move the file away, or choose another --state-dir",
            ) from None
        self._connection = connection

    def _version(self, connection: sqlite3.Connection, known: int) -> int:
        """Return the schema's version, having changed nothing; raises `Misconfigured` for a file not for us."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if owner != _OURS and (version or tables):
            raise Misconfigured(
                f"{self._path} is a database, but not one of Rolecall's",
                hint="move the file away, or choose another --state-dir",
            )
        if version > known:
            raise Misconfigured(
                f"{self._path} was written by a newer Rolecall: schema {version}, this one knows {known}",
                hint="upgrade Rolecall, or choose another --state-dir",
            )
        return int(version)

    async def run(self, work: Work[Answer]) -> Answer:
        """Run `work` in a transaction and return its result once it is on disk.

        An exception from `work` rolls everything back and is passed on; a fault of the database itself
        becomes `StoreFailed`. A cancelled caller changes nothing about the work.
        """
        if self._connection is None:
            raise StoreFailed("the database is not open")
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)
        return await asyncio.shield(future)

    def _transact(self, work: Work[Answer]) -> Answer:
        connection = self._connection
        if connection is None:
            raise StoreFailed("the database has been closed")
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                answer = work(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as fault:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreFailed(f"the database failed: {fault}") from fault
        return answer

    async def close(self) -> None:
        """Finish what is under way and close the file."""

        def close() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=True)

"""The database: all of a unit of work or nothing of it, and answered when it is on disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rolecall.edges.store.sqlite import Database, StoreFailed, Tx
from rolecall.errors import Misconfigured, ServiceError

SCHEMA = ("CREATE TABLE things (name TEXT PRIMARY KEY) STRICT;",)


def play(scene: Callable[[Database], Awaitable[None]], path: Path, schema: tuple[str, ...] = SCHEMA) -> None:
    """Run a scene with an open database."""

    async def run() -> None:
        database = Database(path)
        try:
            await database.open(schema)
            await scene(database)
        finally:
            await database.close()

    asyncio.run(run())


def add(name: str) -> Callable[[Tx], str]:
    """Return the work of adding a thing."""

    def work(tx: Tx) -> str:
        tx.execute("INSERT INTO things VALUES (?)", (name,))
        return name

    return work


def stored(path: Path) -> list[str]:
    """Return what somebody else sees in the file."""
    other = sqlite3.connect(path)
    try:
        return [name for (name,) in other.execute("SELECT name FROM things ORDER BY name")]
    finally:
        other.close()


def test_an_answer_comes_after_the_commit(tmp_path: Path) -> None:
    """Whoever has an answer finds the change in the file; until then nobody does."""
    path = tmp_path / "db"

    async def scene(database: Database) -> None:
        inside, go_on = threading.Event(), threading.Event()

        def slowly(tx: Tx) -> str:
            add("one")(tx)
            inside.set()
            go_on.wait(10)
            return "done"

        working = asyncio.create_task(database.run(slowly))
        await asyncio.to_thread(inside.wait, 10)
        assert stored(path) == []
        go_on.set()
        assert await working == "done"
        assert stored(path) == ["one"]

    play(scene, path)


def test_commits_reach_the_disk(tmp_path: Path) -> None:
    """WAL with synchronous=FULL (2): https://www.sqlite.org/pragma.html#pragma_synchronous."""

    async def scene(database: Database) -> None:
        def pragmas(tx: Tx) -> list[object]:
            return [
                tx.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
            ]

        assert await database.run(pragmas) == ["wal", 2, 1]

    play(scene, tmp_path / "db")


def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Its own errors are passed on, the database's become StoreFailed; the next work finds all as it was."""
    path = tmp_path / "db"

    def refuse(tx: Tx) -> None:
        add("two")(tx)
        raise ServiceError("ResourceInUseException", "it exists", status=409)

    def twice(tx: Tx) -> None:
        add("three")(tx)
        add("one")(tx)

    async def scene(database: Database) -> None:
        await database.run(add("one"))
        with pytest.raises(ServiceError):
            await database.run(refuse)
        with pytest.raises(StoreFailed):
            await database.run(twice)
        with pytest.raises(StoreFailed):
            await database.run(lambda tx: tx.execute("NONSENSE"))
        await database.run(add("four"))
        assert stored(path) == ["four", "one"]

    play(scene, path)


def test_work_is_done_one_after_the_other(tmp_path: Path) -> None:
    """Reading and then writing needs no more care than being in one unit of work."""

    async def scene(database: Database) -> None:
        def next_number(tx: Tx) -> int:
            (count,) = tx.execute("SELECT count(*) FROM things").fetchone()
            add(f"{count}")(tx)
            return int(count)

        assert sorted(await asyncio.gather(*(database.run(next_number) for _ in range(50)))) == list(range(50))

    play(scene, tmp_path / "db")


def test_a_caller_that_goes_away_changes_nothing_about_the_work(tmp_path: Path) -> None:
    """It is done whole, and closing waits for it; whoever comes later is told."""
    path = tmp_path / "db"

    async def run() -> None:
        database = Database(path)
        await database.open(SCHEMA)
        started, go_on = threading.Event(), threading.Event()

        def slowly(tx: Tx) -> None:
            started.set()
            go_on.wait(10)
            add("one")(tx)

        caller = asyncio.create_task(database.run(slowly))
        await asyncio.to_thread(started.wait, 10)
        caller.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await database.close()
        with pytest.raises(StoreFailed):
            await database.run(add("late"))

    asyncio.run(run())
    assert stored(path) == ["one"]


def test_the_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """Only what is missing is done; what was stored stays."""
    path = tmp_path / "db"
    longer = (*SCHEMA, "ALTER TABLE things ADD COLUMN size INTEGER; INSERT INTO things VALUES ('two', 2);")

    async def first(database: Database) -> None:
        await database.run(add("one"))

    async def second(database: Database) -> None:
        rows = await database.run(lambda tx: [tuple(row) for row in tx.execute("SELECT * FROM things ORDER BY name")])
        assert rows == [("one", None), ("two", 2)]

    play(first, path)
    play(second, path, longer)
    play(second, path, longer)


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    """All of a step or nothing of it."""
    path = tmp_path / "db"
    broken = (*SCHEMA, "INSERT INTO things VALUES ('half'); NONSENSE;")

    async def scene(_database: Database) -> None:
        raise AssertionError("it opened")

    with pytest.raises(Misconfigured, match="cannot be used"):
        play(scene, path, broken)
    assert stored(path) == []
    play(lambda database: database.run(add("one")), path)  # type: ignore[arg-type,return-value]


def foreign(path: Path) -> None:
    """Make another program's database."""
    other = sqlite3.connect(path)
    other.executescript("CREATE TABLE cookies (name TEXT); INSERT INTO cookies VALUES ('a');")
    other.close()


def newer(path: Path) -> None:
    """Make the database of a version that knows more."""
    play(lambda database: database.run(add("one")), path, (*SCHEMA, "CREATE TABLE more (x);"))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(newer, "newer Rolecall: schema 2, this one knows 1", id="newer schema"),
        pytest.param(foreign, "not one of Rolecall's", id="another program's"),
        pytest.param(lambda path: path.write_bytes(b"words, words, words\n" * 500), "cannot be used", id="no database"),
        pytest.param(lambda path: path.mkdir(), "cannot be used", id="a directory"),
    ],
)
def test_a_file_that_is_not_for_us_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    """Not a byte of it changes, nor is anything put beside it."""
    path = tmp_path / "db"
    make(path)
    before = path.read_bytes() if path.is_file() else None

    async def scene(_database: Database) -> None:
        raise AssertionError("it opened")

    with pytest.raises(Misconfigured, match=says) as caught:
        play(scene, path)
    assert "--state-dir" in caught.value.hint
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [found.name for found in tmp_path.iterdir()] == ["db"]

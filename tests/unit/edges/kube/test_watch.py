"""Watches in virtual time: what an API server may do to one, and what its store holds afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rolecall.edges.kube.client import METADATA, METADATA_LIST, ApiError
from rolecall.edges.kube.watch import Watch, Watched
from rolecall.edges.kube.wire import HasMeta, Status
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock

HANG = "hang"


def thing(name: str, version: int | str) -> dict[str, Any]:
    return {"kind": "Thing", "metadata": {"name": name, "resourceVersion": str(version)}, "spec": {"other": [1]}}


def page(*items: dict[str, Any], version: int, more: str = "") -> bytes:
    return json.dumps({"metadata": {"resourceVersion": str(version), "continue": more}, "items": [*items]}).encode()


def line(kind: str, found: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode()


def error(code: int, reason: str = "", wait: float = 0.0) -> ApiError:
    return ApiError(code, Status(code, reason or None, "no"), wait)


class Store:
    """Holds name → version, and remembers how often it was filled whole."""

    def __init__(self) -> None:
        self.things: dict[str, str] = {}
        self.filled = 0

    def replace(self, objects: Sequence[tuple[str, str]]) -> None:
        self.things, self.filled = dict(objects), self.filled + 1

    def put(self, found: tuple[str, str]) -> None:
        if found[0] == "defect":
            raise ValueError("cannot be kept")
        self.things[found[0]] = found[1]

    def drop(self, found: tuple[str, str]) -> None:
        self.things.pop(found[0], None)


class Script:
    """An API server that answers as written: lists in turn, then streams of lines, pauses, errors or silence."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lists: list[bytes | Exception] = []
        self.streams: list[list[bytes | float | str | Exception] | Exception] = []
        self.asked: list[dict[str, str]] = []
        self.accepted: list[str] = []
        self.open = 0

    async def get(self, path: str, query: Any = (), *, accept: str = "", timeout: float = 0.0) -> bytearray:
        self.asked.append(dict(query))
        self.accepted.append(accept)
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bytearray(answer)

    @asynccontextmanager
    async def watch(self, path: str, query: Any = (), *, accept: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append(dict(query))
        self.accepted.append(accept)
        script = self.streams.pop(0) if self.streams else [HANG]
        if isinstance(script, Exception):
            raise script
        self.open += 1
        try:
            yield self._lines(script)
        finally:
            self.open -= 1

    async def _lines(self, script: list[bytes | float | str | Exception]) -> AsyncIterator[bytes]:
        for item in script:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, bytes):
                yield item
            elif isinstance(item, float):
                await self.clock.sleep(item)
            else:
                await asyncio.Event().wait()


class World:
    def __init__(self, *, from_cache: bool = False, metadata_only: bool = False) -> None:
        self.clock = FakeClock()
        self.api, self.store = Script(self.clock), Store()
        self.watch = Watch(
            self.api,
            Watched(
                "/things",
                HasMeta,
                lambda found: (found.metadata.name, found.metadata.resource_version),
                (("fieldSelector", "a=b"),),
                metadata_only,
                from_cache,
                page=2,
            ),
            self.store,
            clock=self.clock,
            dice=lambda: 0.0,
            log=Log("rolecall.test_watch"),
        )

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            task = asyncio.create_task(self.watch.run())
            try:
                await self.clock.advance(0.0)
                await work()
                assert not task.done()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert self.api.open == 0, "a stream was left open"

        asyncio.run(all_of_it())


def test_a_list_in_pages_and_a_stream_with_bookmarks() -> None:
    """The store is whole before `listed`; the next stream begins where the last bookmark was."""
    world = World(metadata_only=True)
    world.api.lists = [page(thing("a", 1), thing("b", 2), version=9, more="next"), page(thing("c", 3), version=9)]
    world.api.streams = [
        [
            line("MODIFIED", thing("a", 10)),
            line("DELETED", thing("b", 11)),
            line("ADDED", thing("d", 12)),
            line("ADDED", thing("d", 12)),
            line("DELETED", thing("never-seen", 13)),
            line("BOOKMARK", thing("", 40)),
            line("OF-THE-FUTURE", thing("x", 99)),
            300.0,
        ]
    ]

    async def work() -> None:
        assert world.watch.listed.is_set()
        assert world.watch.streaming
        assert world.store.things == {"a": "10", "c": "3", "d": "12"}
        await world.clock.advance(301.0)
        first, second, stream, again = world.api.asked
        assert first == {"fieldSelector": "a=b", "limit": "2"}
        assert second == {**first, "continue": "next"}
        assert stream["resourceVersion"] == "9"
        assert (stream["allowWatchBookmarks"], stream["timeoutSeconds"]) == ("true", "300")
        assert again["resourceVersion"] == "40"
        assert world.api.accepted == [METADATA_LIST, METADATA_LIST, METADATA, METADATA]
        assert world.store.filled == 1

    world.run(work)


@pytest.mark.parametrize(
    "gone",
    [
        error(410, "Expired"),
        error(410, "Gone"),
        [line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})],
        [line("ADDED", thing("b", 5)), error(410)],
    ],
)
def test_what_is_too_far_back_is_listed_again(gone: Any) -> None:
    """By the answer's status or by an event; what vanished meanwhile is gone from the store."""
    world = World()
    world.api.lists = [page(thing("a", 1), version=4), page(thing("c", 7), version=8)]
    world.api.streams = [gone]

    async def work() -> None:
        assert "a" in world.store.things
        await world.clock.advance(1.0)
        assert world.store.things == {"c": "7"}
        assert world.api.asked[-1]["resourceVersion"] == "8"
        assert world.watch.streaming
        assert not world.watch.failing

    world.run(work)


def test_a_broken_stream_goes_on_from_the_last_version() -> None:
    """Without a new list; a store that was filled stays as it is, and pauses grow."""
    world = World()
    world.api.lists = [page(thing("a", 1), version=4)]
    fault = Upstream("the connection broke")
    world.api.streams = [[line("ADDED", thing("b", 5)), fault], fault, fault, fault, [HANG]]

    async def work() -> None:
        assert world.store.things == {"a": "1", "b": "5"}
        assert world.watch.failing == "the connection broke"
        assert not world.watch.streaming
        begun = len(world.api.asked)
        await world.clock.advance(0.25 + 0.5 + 1.0 + 1.9)
        assert len(world.api.asked) == begun + 3, "each pause is twice the last"
        await world.clock.advance(0.2)
        assert world.watch.streaming
        assert not world.watch.failing
        assert world.store.filled == 1
        assert {asked["resourceVersion"] for asked in world.api.asked[2:]} == {"5"}

    world.run(work)


def test_a_silent_stream_is_given_up() -> None:
    """Bookmarks keep one alive; three minutes without any line end it."""
    world = World()
    world.api.lists = [page(version=4)]
    world.api.streams = [[170.0, line("BOOKMARK", thing("", 6)), HANG]]

    async def work() -> None:
        await world.clock.advance(349.0)
        assert len(world.api.asked) == 2
        await world.clock.advance(2.0)
        assert world.api.asked[2]["resourceVersion"] == "6"

    world.run(work)


def test_a_page_that_expired_begins_the_list_anew() -> None:
    """With longer pages, and nothing of the first attempt in the store."""
    world = World()
    world.api.lists = [
        page(thing("a", 1), version=4, more="next"),
        error(410, "Expired"),
        page(thing("b", 5), version=6),
    ]

    async def work() -> None:
        assert not world.watch.listed.is_set()
        assert not world.store.things
        await world.clock.advance(1.0)
        assert world.store.things == {"b": "5"}
        assert [asked.get("limit") for asked in world.api.asked[:3]] == ["2", "2", "8"]

    world.run(work)


def test_a_list_from_memory_never_goes_back() -> None:
    """The first may be of any age; the next is not older than what was seen; one that cannot be had is read anew."""
    world = World(from_cache=True)
    too_new = error(504, "Timeout")
    world.api.lists = [page(version=4), too_new, page(version=20)]
    world.api.streams = [[line("ADDED", thing("b", 9)), error(410)]]

    async def work() -> None:
        await world.clock.advance(1.0)
        lists = [asked for asked in world.api.asked if "watch" not in asked]
        assert [asked.get("resourceVersion") for asked in lists] == ["0", "9", None]
        assert [asked.get("resourceVersionMatch") for asked in lists] == [None, "NotOlderThan", None]
        assert world.watch.streaming

    world.run(work)


def test_an_api_server_that_refuses_is_asked_seldom(caplog: pytest.LogCaptureFixture) -> None:
    """It says when to come again; one line in the log tells of any number of refusals, and has the way out."""
    caplog.set_level("INFO", "rolecall")
    world = World()
    world.api.lists = [error(429, "TooManyRequests", 20.0), *[error(403, "Forbidden")] * 30]

    async def work() -> None:
        await world.clock.advance(19.0)
        assert len(world.api.asked) == 1
        await world.clock.advance(200.0)
        assert len(world.api.asked) < 20
        assert world.watch.counters.failures["Forbidden"] > 5
        assert not world.watch.listed.is_set()
        lines = [record for record in caplog.records if record.message == "watch.failing"]
        assert len(lines) == 1

    world.run(work)


@pytest.mark.parametrize("bad", [b"{", b"[]", b'{"type":"ADDED","object":7}', line("ADDED", thing("defect", 7))])
def test_what_cannot_be_read_or_kept_ends_no_watch(bad: bytes) -> None:
    """The stream is given up, and what came with it comes again."""
    world = World()
    world.api.lists = [page(thing("a", 1), version=4), page(thing("a", 1), version=8)]
    world.api.streams = [[bad]]

    async def work() -> None:
        await world.clock.advance(1.0)
        assert world.store.things == {"a": "1"}
        assert world.watch.streaming

    world.run(work)

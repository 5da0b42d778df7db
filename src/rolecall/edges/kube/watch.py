"""A watch: list, then stream, and list again where the stream's past is gone. It fills a store, and never ends.

The order is that of client-go's reflector (Kubernetes API Concepts, "Efficient detection of changes"): a list in
pages; the stream from the list's version on, with bookmarks; the next stream from the last version seen; and a new
list after ``410 Gone``, told by status or by an ERROR event. A store that was filled once is never emptied by a
failure: it holds what was last known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from rolecall.core.backoff import delays
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import JSON, METADATA, METADATA_LIST, Api, ApiError, Query
from rolecall.edges.kube.wire import Decoder, Event, HasMeta, Page, status_of
from rolecall.edges.metrics import count
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, Upstream

Object = TypeVar("Object", bound=HasMeta)
Kept = TypeVar("Kept")
Put_contra = TypeVar("Put_contra", contravariant=True)
_LONGEST_PAGE = 10_000


class Store(Protocol[Put_contra]):
    """What a watch fills. Its methods are called in the loop, one after the other, and must not wait."""

    def replace(self, objects: Sequence[Put_contra]) -> None:
        """Hold exactly these."""
        ...

    def put(self, found: Put_contra) -> None:
        """Hold this one, in place of what had its name."""
        ...

    def drop(self, found: Put_contra) -> None:
        """Hold this one no longer; `found` is how it was at its end."""
        ...


@dataclass(frozen=True, slots=True)
class Watched(Generic[Object, Kept]):
    """What is watched: `path` of its list, the form of an object, and what is kept of one when it comes.

    `from_cache` lists what the API server has in memory, never older than what was seen already: cheap for it
    where each of many nodes asks for its own. `metadata_only` leaves spec and status out.
    """

    path: str
    form: type[Object]
    keep: Callable[[Object], Kept]
    query: tuple[tuple[str, str], ...] = ()
    metadata_only: bool = False
    from_cache: bool = False
    page: int = 500


@dataclass(frozen=True, slots=True)
class WatchRules:
    """Lengths are seconds. A stream is asked to last `shortest` to twice that, and is given up after `silence`
    without a line, for the API server sends a bookmark every minute. One that lasted `steady` ends the back-off."""

    shortest: float = 300.0
    silence: float = 180.0
    listing: float = 60.0
    steady: float = 10.0
    first_pause: float = 0.5
    longest_pause: float = 30.0


@dataclass(slots=True)
class WatchCounters:
    """What has happened so far; `failures` by their word."""

    lists: int = 0
    streams: int = 0
    events: int = 0
    bookmarks: int = 0
    failures: dict[str, int] = field(default_factory=dict)


class _Gone(Exception):
    """The version is too far back."""


class Watch(Generic[Object, Kept]):
    """Keeps a store as the API server has it. `listed` is set once the store was filled; `streaming` says whether
    changes are arriving now; `failing` is why they are not, in words."""

    def __init__(
        self,
        api: Api,
        watched: Watched[Object, Kept],
        store: Store[Kept],
        *,
        clock: Clock,
        dice: Callable[[], float],
        log: Log,
        rules: WatchRules | None = None,
    ) -> None:
        self._api, self._watched, self._store = api, watched, store
        self._clock, self._dice, self._log = clock, dice, log
        self.rules = rules or WatchRules()
        self.listed = asyncio.Event()
        self.counters = WatchCounters()
        self.streaming = False
        self.failing = ""
        self._version: str | None = None  # of the last thing seen; None: list
        self._newest = "0"  # what a list from the API server's memory must not be older than
        self._limit = watched.page
        self._page = Decoder[Page[Object]](Page[watched.form])  # type: ignore[name-defined]
        self._object = Decoder[Object](watched.form)
        self._event = Decoder[Event](Event)
        self._bookmark = Decoder[HasMeta](HasMeta)

    async def run(self) -> None:
        """List and stream until cancelled."""
        pauses = self._pauses()
        while True:
            began = self._clock.monotonic()
            least = await self._turn()
            if self._clock.monotonic() - began >= self.rules.steady:
                pauses = self._pauses()
                if not self.failing:
                    continue
            await self._clock.sleep(max(next(pauses), least))

    def _pauses(self) -> Iterator[float]:
        return delays(base=self.rules.first_pause, cap=self.rules.longest_pause, dice=self._dice, least=0.5)

    async def _turn(self) -> float:
        """List if need be, and stream to the stream's end; return the seconds to wait at least before the next."""
        try:
            if self._version is None:
                await self._list()
            await self._stream()
        except _Gone:
            self._fail("gone", "the version is too far back; listing again", quietly=True)
            self._version = None
        except RolecallError as error:
            self._fail(error.word, error.message, hint=error.hint)
            return error.retry_after if isinstance(error, ApiError) else 0.0
        except Exception as error:  # noqa: BLE001 - a defect must not end the watch in silence
            self._log.crash("watch.crashed", error, path=self._watched.path)
            self._fail("crash", "a defect; see watch.crashed", quietly=True)
            self._version = None  # what the store has missed, the next list brings
        finally:
            self.streaming = False
        return 0.0

    def _fail(self, word: str, why: str, *, hint: str = "", quietly: bool = False) -> None:
        count(self.counters.failures, word)
        if not self.failing and not quietly:
            more = {"hint": hint} if hint else {}
            self._log.warning("watch.failing", path=self._watched.path, code=word, why=why, **more)
        self.failing = why

    # --- listing ---------------------------------------------------------------------------------------

    async def _list(self) -> None:
        """Fill the store from a list. A page that is not to be had any more begins it anew, with longer pages."""
        kept: list[Kept] = []
        version, after, fresh = "", "", self._watched.from_cache
        self.counters.lists += 1
        while True:
            try:
                body = await self._api.get(
                    self._watched.path,
                    self._list_query(after, fresh),
                    accept=METADATA_LIST if self._watched.metadata_only else JSON,
                    timeout=self.rules.listing,
                )
            except ApiError as error:
                if after and error.gone:
                    self._limit = min(_LONGEST_PAGE, self._limit * 4)
                    raise _Gone from None
                if fresh and (error.gone or error.status == 504):  # it has forgotten, or is not that far yet
                    fresh = False
                    continue
                raise
            page = self._page(body)
            del body
            kept += map(self._watched.keep, page.items or ())
            version, after = page.metadata.resource_version, page.metadata.continue_
            if not after:
                break
        if not version:
            raise Upstream(f"the list of {self._watched.path} has no version")
        self._store.replace(kept)
        self._version = self._newest = version
        self._limit = self._watched.page
        self._recovered()
        self.listed.set()

    def _list_query(self, after: str, fresh: bool) -> Query:
        query = [*self._watched.query, ("limit", str(self._limit))]
        if after:
            return [*query, ("continue", after)]
        if not fresh:
            return query
        match = [("resourceVersionMatch", "NotOlderThan")] if self._newest != "0" else []
        return [*query, ("resourceVersion", self._newest), *match]

    def _recovered(self) -> None:
        if self.failing:
            self._log.info("watch.recovered", path=self._watched.path)
        self.failing = ""

    # --- streaming -------------------------------------------------------------------------------------

    async def _stream(self) -> None:
        """Follow the changes until the stream ends, fails, or is silent for too long."""
        seconds = self.rules.shortest * (1.0 + min(1.0, max(0.0, self._dice())))
        query = [
            *self._watched.query,
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self._version or ""),
            ("timeoutSeconds", str(int(seconds))),
        ]
        accept = METADATA if self._watched.metadata_only else JSON
        try:
            async with self._api.watch(self._watched.path, query, accept=accept) as lines:
                self.counters.streams += 1
                self.streaming = True
                self._recovered()
                await self._follow(lines)
        except ApiError as error:
            if error.gone or error.status == 400:  # a version that this API server does not know
                raise _Gone from None
            raise

    async def _follow(self, lines: AsyncIterator[bytes]) -> None:
        """Take every line; a watchdog beside it costs nothing a line."""
        heard = [self._clock.monotonic()]

        async def read() -> None:
            async for line in lines:
                heard[0] = self._clock.monotonic()
                self._take(line)

        async def guard() -> None:
            while (left := heard[0] + self.rules.silence - self._clock.monotonic()) > 0:
                await self._clock.sleep(left)

        reading, guarding = asyncio.ensure_future(read()), asyncio.ensure_future(guard())
        try:
            await asyncio.wait({reading, guarding}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise Upstream(f"the watch of {self._watched.path} was silent for {self.rules.silence:g} seconds")
            reading.result()
        finally:
            for task in (reading, guarding):
                task.cancel()
            for task in (reading, guarding):
                with suppress(asyncio.CancelledError, Exception):
                    await task

    def _take(self, line: bytes) -> None:
        event = self._event(line)
        match event.type:
            case "ADDED" | "MODIFIED" | "DELETED":
                found = self._object(event.object)
                self.counters.events += 1
                kept = self._watched.keep(found)
                if event.type == "DELETED":
                    self._store.drop(kept)
                else:
                    self._store.put(kept)
                self._seen(found.metadata.resource_version)
            case "BOOKMARK":
                self.counters.bookmarks += 1
                self._seen(self._bookmark(event.object).metadata.resource_version)
            case "ERROR":
                said = status_of(event.object)
                error = ApiError(said.code or 500, said)
                if error.gone or error.status == 400:
                    raise _Gone
                raise error
            case _:  # a type that is not there yet says nothing about what is held
                return

    def _seen(self, version: str) -> None:
        if version:
            self._version = self._newest = version

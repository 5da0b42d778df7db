"""Events on AWSIAMRoles: what happens again is counted in the one that is there, and none costs anything else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rolecall.daemons.controller import wire
from rolecall.daemons.controller.wire import Told
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import ApiError
from rolecall.edges.limits import PerSource
from rolecall.edges.metrics import count
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

QUIET = 300.0
"""Seconds in which the same is not told again."""
_MOST = 2048
_GONE = 404


class EventsApi(Protocol):
    """The API server (`rolecall.edges.kube.client.KubeClient`)."""

    async def create(self, path: str, body: bytes) -> bytearray: ...

    async def patch(self, path: str, body: bytes) -> bytearray: ...


@dataclass(slots=True)
class _Known:
    name: str
    count: int
    at: float


class Recorder:
    """Writes Events. One object has 25 at once and then one in five minutes at most, as client-go's correlator has it.

    `told` and `failures` count them, by reason and by word.
    """

    def __init__(self, api: EventsApi, instance: str, *, clock: Clock, suffix: Callable[[], str], log: Log) -> None:
        self._api, self._instance, self._suffix = api, instance, suffix
        self._clock, self._log = clock, log
        self._known: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()
        self._pace = PerSource(rate=1 / 300, burst=25, clock=clock, most_sources=_MOST)
        self.told: dict[str, int] = {}
        self.failures: dict[str, int] = {}

    async def tell(self, told: Told) -> None:
        """Write one, where it is not too much; a failure is only counted."""
        what = (told.resource.uid, told.reason, told.message)
        known = self._known.get(what)
        now = self._clock.monotonic()
        if (known is not None and now < known.at + QUIET) or not self._pace.take(told.resource.uid):
            return
        try:
            if known is None or not await self._again(told, known):
                await self._new(told, what)
            count(self.told, told.reason)
        except RolecallError as error:
            count(self.failures, error.word)
            self._log.debug("controller.event_failed", why=error.message, reason=told.reason)

    async def _new(self, told: Told, what: tuple[str, str, str]) -> None:
        body = wire.new_event(told, self._suffix(), self._instance, self._clock.now())
        answer = await self._api.create(wire.path(wire.EVENTS, told.resource.namespace), body)
        self._known[what] = _Known(wire.name_of(answer), 1, self._clock.monotonic())
        self._known.move_to_end(what)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    async def _again(self, told: Told, known: _Known) -> bool:
        """Count it in the Event that is there; return False where it is there no longer."""
        path = wire.path(wire.EVENTS, told.resource.namespace, known.name)
        try:
            await self._api.patch(path, wire.again(known.count + 1, self._clock.now()))
        except ApiError as error:
            if error.status != _GONE:
                raise
            return False
        known.count, known.at = known.count + 1, self._clock.monotonic()
        return True

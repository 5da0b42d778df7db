"""Events about pods that are refused their role, so that ``kubectl describe pod`` says why."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime

from rolecall.core.caller import AtPodIp
from rolecall.edges import entropy
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import KubeClient
from rolecall.edges.limits import TokenBucket
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError
from rolecall.mechanisms.metadata_proxy.remote import wire

AGAIN = 600.0
"""Seconds for which the same is not said of the same pod again: SDKs ask again and again."""
_MOST, _WAITING = 4096, 64


class Events:
    """Writes them in the background; `written` and `left_out` count. A cluster that takes none costs a log line."""

    def __init__(self, api: KubeClient, clock: Clock, log: Log) -> None:
        self._api, self._clock, self._log = api, clock, log
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._bucket = TokenBucket(rate=5.0, burst=50.0, clock=clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failing = False
        self.written = self.left_out = 0

    def __call__(self, caller: AtPodIp, reason: str, role: str, why: str) -> None:
        """Write one, unless the same was said a moment ago, or there are too many."""
        key, now = (caller.pod.uid, reason, role), self._clock.monotonic()
        if now - self._said.get(key, float("-inf")) < AGAIN:
            return
        if len(self._tasks) >= _WAITING or not self._bucket.take():
            self.left_out += 1
            return
        self._said[key] = now
        self._said.move_to_end(key)
        while len(self._said) > _MOST:
            self._said.popitem(last=False)
        forbidden = reason == "KiamRoleForbidden"
        sentence = f'failed assuming role "{role}": {why}' if forbidden else f"failed retrieving credentials: {why}"
        task = asyncio.create_task(self._write(caller, reason, sentence), name="kiam.event")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave the rest unwritten."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self, caller: AtPodIp, reason: str, sentence: str) -> None:
        at = datetime.fromtimestamp(int(self._clock.now()), UTC)
        body = wire.encode_event(caller, reason, sentence, name=entropy.token_hex(8), at=f"{at:%Y-%m-%dT%H:%M:%SZ}")
        try:
            await self._api.create(f"/api/v1/namespaces/{caller.pod.namespace}/events", body)
            self.written += 1
            self._failing = False
        except RolecallError as fault:
            self.left_out += 1
            if not self._failing:
                self._log.warning("kiam.event_not_written", why=fault.message, hint=fault.hint)
            self._failing = True

"""Leadership by a Lease, with client-go's rules (k8s.io/client-go, tools/leaderelection).

Whoever holds the Lease says so every two seconds. Others take it when its record has not changed for its length, by
their own clocks: no two clocks are compared. A leader that could not say so for ten seconds is none any more, five
seconds before anybody else can be.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from rolecall.daemons.controller.lease import wire
from rolecall.daemons.controller.lease.wire import Lease
from rolecall.edges.clock import Clock, within
from rolecall.edges.kube.client import ApiError
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, Upstream

NOT_FOUND, CONFLICT = 404, 409


class NotLeading(Upstream):
    """Another replica leads, or nobody knows: nothing may be written."""

    @property
    def word(self) -> str:
        """Always the same."""
        return "not-leading"


class Leases(Protocol):
    """The API server (`rolecall.edges.kube.client.KubeClient`)."""

    async def get(self, path: str) -> bytearray: ...

    async def create(self, path: str, body: bytes) -> bytearray: ...

    async def replace(self, path: str, body: bytes) -> bytearray: ...


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """Seconds: how long others wait, how long a leader leads without a renewal, and between two tries."""

    length: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


class Leader:
    """Tries to lead, and goes on trying. `gained` and `lost` are called as it changes; `fault` is why it cannot try.

    `holder` is whom the Lease named last.
    """

    def __init__(
        self,
        leases: Leases,
        place: tuple[str, str],
        identity: str,
        *,
        clock: Clock,
        dice: Callable[[], float],
        log: Log,
        rules: LeaseRules | None = None,
    ) -> None:
        self._leases, self.identity = leases, identity
        self._namespace, self._name = place
        self._list = f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"
        self._clock, self._dice, self._log = clock, dice, log
        self._rules = rules or LeaseRules()
        self._observed: Lease | None = None
        self._observed_at = 0.0
        self._until = 0.0
        self._led = False
        self.fault = self.holder = ""
        self.transitions = 0

    @property
    def leading(self) -> bool:
        """Whether this replica leads now, by its own clock."""
        return self._led and self._clock.monotonic() < self._until

    def check(self) -> None:
        """Raise `NotLeading` where this replica may not write."""
        if not self.leading:
            raise NotLeading("another replica leads")

    async def run(self, gained: Callable[[], None], lost: Callable[[], None]) -> None:
        """Do it until cancelled."""
        while True:
            leads = await self._try()
            if leads and not self._led:
                self._led, self.transitions = True, self.transitions + 1
                self._log.info("controller.leading", lease=f"{self._namespace}/{self._name}", identity=self.identity)
                gained()
            elif self._led and not leads:
                self._led = False
                self._log.warning("controller.lost_the_lease", holder=self.holder, why=self.fault)
                lost()
            wait = self._rules.retry * (1.0 if self._led else 1.0 + 0.2 * self._dice())
            await self._clock.sleep(min(wait, self._until - self._clock.monotonic()) if self._led else wait)

    async def release(self) -> None:
        """Give the Lease up, so that another need not wait; a failure costs only that."""
        leads, self._led = self.leading, False
        if not leads or self._observed is None:
            return
        free = replace(self._observed, holder="", seconds=1, renewed=wire.micro_time(self._clock.now()))
        with suppress(RolecallError, TimeoutError):
            await within(self._clock, self._rules.retry, self._put(free))
            self._log.info("controller.released_the_lease")

    async def _try(self) -> bool:
        """Return whether this replica leads after one more try."""
        now = self._clock.monotonic()
        left = self._until - now if self._led else self._rules.deadline
        if left <= 0:
            return False
        try:
            leads = await within(self._clock, left, self._turn(now))
            self.fault = ""
            return leads
        except (RolecallError, TimeoutError) as error:
            why = error.message if isinstance(error, RolecallError) else "the API server does not answer"
            if why != self.fault:
                hint = getattr(error, "hint", "")
                self._log.warning("controller.lease_failing", why=why, **({"hint": hint} if hint else {}))
            self.fault = why
            return self._led and self._clock.monotonic() < self._until

    async def _turn(self, began: float) -> bool:
        try:
            if self._led and self._observed is not None:  # nobody else should have touched it
                with_it = self._observed
            else:
                with_it = self._observe(wire.read_lease(await self._leases.get(f"{self._list}/{self._name}")))
            await self._put(self._mine(with_it) if self._may_take(with_it) else None)
        except ApiError as error:
            if error.status == NOT_FOUND:
                await self._put(self._mine(None))
            elif error.status == CONFLICT:  # somebody was quicker, or wrote while we led
                found = self._observe(wire.read_lease(await self._leases.get(f"{self._list}/{self._name}")))
                if found.holder != self.identity:
                    return False
                await self._put(self._mine(found))
            else:
                raise
        if self._observed is None or self._observed.holder != self.identity:
            return False
        self._until = began + self._rules.deadline
        return True

    def _may_take(self, found: Lease) -> bool:
        over = self._clock.monotonic() >= self._observed_at + (found.seconds or self._rules.length)
        return found.holder in ("", self.identity) or over

    def _observe(self, found: Lease) -> Lease:
        if self._observed is None or found.record != self._observed.record:
            self._observed_at = self._clock.monotonic()
        self._observed, self.holder = found, found.holder
        return found

    def _mine(self, found: Lease | None) -> Lease:
        now = wire.micro_time(self._clock.now())
        length = int(self._rules.length)
        if found is None:
            return Lease("", self.identity, length, now, now, 0)
        if found.holder == self.identity:
            return replace(found, seconds=length, renewed=now)
        return Lease(found.version, self.identity, length, now, now, found.transitions + 1)

    async def _put(self, lease: Lease | None) -> None:
        if lease is None:
            return
        body = wire.new_lease(self._namespace, self._name, lease)
        if lease.version:
            answer = await self._leases.replace(f"{self._list}/{self._name}", body)
        else:
            answer = await self._leases.create(self._list, body)
        self._observe(wire.read_lease(answer))

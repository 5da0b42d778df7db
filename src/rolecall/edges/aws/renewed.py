"""The agent's own credentials where somebody issues them for a time: kept, and renewed before they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from rolecall.core.backoff import delays
from rolecall.edges.aws.node_credentials import Lease, NoNodeCredentials, SigningKey
from rolecall.edges.clock import Clock, within
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError

AHEAD = 300.0
"""Seconds before their end that credentials are renewed."""
WAIT = 3.0
"""Seconds that somebody waits at most where there are none: half of what a pod's question may take."""
REST = 30.0
"""Seconds at least between renewals that brought what ends soon anyway; up to twice that, by chance."""
EXTENSION = 600.0
"""Seconds that IMDS's credentials are used on where IMDS has no newer ones; up to half as many more, by chance."""

_FIRST, _LONGEST = 0.5, 60.0  # seconds: after a failure


class RenewedCredentials:
    """Credentials that `fetch` brings, from `where` (a name for people).

    - One fetch at a time, a task of its own: whoever goes away ends nothing, and a late answer is kept.
    - While they are valid, they are returned at once, and renewed beside that from `AHEAD` before their end.
    - A fetch that fails costs valid ones nothing; it is tried again after a while, longer each time, with jitter.
    - With `extend`, ones that have ended are used on where nothing newer comes: EC2 keeps IMDS's credentials valid
      while it cannot renew them, as all AWS SDKs know. Who judges them is AWS.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Lease]],
        *,
        where: str,
        clock: Clock,
        dice: Callable[[], float],
        log: Log,
        extend: bool = False,
    ) -> None:
        self._fetch, self._where, self._extend = fetch, where, extend
        self._clock, self._dice, self._log = clock, dice, log
        self._held: Lease | None = None
        self._ends = 0.0  # monotonic, beside the lease's own end: a clock set back makes nothing last longer
        self._flight: asyncio.Task[None] | None = None
        self._next = 0.0  # monotonic: no renewal before, while valid; after a failure, no fetch at all
        self._failure: RolecallError | None = None
        self._backoff = delays(base=_FIRST, cap=_LONGEST, dice=dice, least=0.5)

    @property
    def expires_at(self) -> float | None:
        """The end of what is held, in seconds since the epoch; None with nothing held."""
        return self._held.expires_at if self._held else None

    @property
    def failure(self) -> RolecallError | None:
        """Why the last fetch failed; None where it did not."""
        return self._failure

    async def current(self) -> SigningKey:
        """Return the key to sign with; raises `NoNodeCredentials`, `WAIT` seconds from now at the latest."""
        held = self._held
        if held is not None and self._left(held) > 0:
            if self._left(held) <= AHEAD and self._clock.monotonic() >= self._next:
                self.start()
            return held.key
        if self._failure is None or self._flight or self._clock.monotonic() >= self._next:
            with suppress(TimeoutError):
                await within(self._clock, WAIT, asyncio.shield(self.start()))
        held = self._held
        if held is not None and (self._extend or self._left(held) > 0):
            return held.key
        if self._failure is not None and self._flight is None:
            raise self._failure.with_traceback(None)
        raise NoNodeCredentials(
            f"{self._where} has not brought the agent's own credentials within {WAIT:g} seconds",
            hint="the log has node_credentials.failed once it is known why",
        )

    def start(self) -> asyncio.Task[None]:
        """Begin a fetch, or return the one that is under way."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly(), name="node_credentials.fetch")
        return self._flight

    def forget_failure(self) -> None:
        """Let the next one who asks cause a fetch, however short ago the last one failed."""
        self._next = 0.0

    async def close(self) -> None:
        """End the fetch that is under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    def _left(self, held: Lease) -> float:
        return min(held.expires_at - self._clock.now(), self._ends - self._clock.monotonic())

    async def _fly(self) -> None:
        try:
            self._keep(await self._fetch())
        except RolecallError as failure:
            self._failed(failure)
        except Exception as error:  # noqa: BLE001 - a defect must not be silent, nor asked again in a loop
            self._log.crash("node_credentials.crashed", error)
            self._failed(NoNodeCredentials(f"{self._where} could not be asked: {type(error).__name__}"))
        finally:
            self._flight = None

    def _keep(self, lease: Lease) -> None:
        """Hold what came; raises `NoNodeCredentials` for what has ended already."""
        now = self._clock.now()
        if lease.expires_at <= now:
            if not self._extend:
                raise NoNodeCredentials(
                    f"{self._where} gave the agent credentials that have expired", hint="check this machine's clock"
                )
            self._log.warning("node_credentials.extended", where=self._where, expired_for=round(now - lease.expires_at))
            lease = Lease(lease.key, now + EXTENSION * (1 + self._dice() / 2))
        self._held = lease
        self._ends = self._clock.monotonic() + lease.expires_at - now
        self._next = self._clock.monotonic() + REST * (1 + self._dice())
        self._failure = None
        self._backoff = delays(base=_FIRST, cap=_LONGEST, dice=self._dice, least=0.5)
        self._log.info("node_credentials.fetched", where=self._where, seconds=round(lease.expires_at - now))

    def _failed(self, failure: RolecallError) -> None:
        if not isinstance(failure, NoNodeCredentials):
            failure = NoNodeCredentials(
                f"{self._where} gave the agent no credentials of its own: {failure.message}", hint=failure.hint
            )
        wait = next(self._backoff)
        self._failure, self._next = failure, self._clock.monotonic() + wait
        valid = self._held is not None and self._left(self._held) > 0
        self._log.warning(
            "node_credentials.failed", why=failure.message, hint=failure.hint, retry_in=round(wait, 1), valid=valid
        )

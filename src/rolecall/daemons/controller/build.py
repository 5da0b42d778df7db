"""Puts the controller together: watches that fill stores, a queue of what has to be looked at, and who leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from rolecall.daemons.controller import wire
from rolecall.daemons.controller.config import ControllerConfig
from rolecall.daemons.controller.events import Recorder
from rolecall.daemons.controller.issuing import Issuing
from rolecall.daemons.controller.lease.fenced import Fenced
from rolecall.daemons.controller.lease.leader import Leader
from rolecall.daemons.controller.queue import Queue
from rolecall.daemons.controller.reconcile import Reconciler
from rolecall.daemons.controller.saying import Saying
from rolecall.daemons.controller.stores import Namespaces, Roles, Secrets
from rolecall.daemons.runner import Parts
from rolecall.edges import entropy
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import KubeClient
from rolecall.edges.kube.watch import Watch, Watched
from rolecall.edges.kube.wire import HasMeta
from rolecall.edges.limits import TokenBucket
from rolecall.edges.telemetry import Log
from rolecall.mechanisms.metadata_proxy.secret_files import unrestricted

STUCK = 60.0
"""Seconds without a turn of the queue, which turns every five, after which a restart may help."""


class Controller:
    """The parts that the process runs, from `start` to `close`. `parts` is what it does in the background."""

    def __init__(self, config: ControllerConfig, issuing: Issuing, client: KubeClient, clock: Clock, log: Log) -> None:
        self.config, self.issuing, self.rules = config, issuing, issuing.rules
        self._client, self.clock, self._log = client, clock, log
        self.roles, self.secrets = Roles(self._changed), Secrets(self._changed)
        self.namespaces = Namespaces(self.rules.namespace_key, self._changed_in)
        instance = f"{config.instance}_{entropy.token_hex(8)}"
        self.leader = config.lease and Leader(client, config.lease, instance, clock=clock, dice=entropy.dice, log=log)
        objects = Fenced(client, self.leader)
        self.recorder = Recorder(objects, instance, clock=clock, suffix=lambda: entropy.token_hex(8), log=log)
        self.reconciler = Reconciler(
            self.rules, objects, issuing.assume, Saying(objects, self.recorder, self.roles, clock=clock, log=log),
            TokenBucket(rate=config.sts_qps, burst=max(1.0, 2 * config.sts_qps), clock=clock),
            roles=self.roles, secrets=self.secrets, namespaces=self.namespaces,
            clock=clock, log=log, resync=config.interval, dice=entropy.dice,
        )  # fmt: skip
        self.queue = Queue(self.reconciler, workers=config.workers, clock=clock, dice=entropy.dice, log=log)
        self.watches = self._watched(partial(Watch, client, clock=clock, dice=entropy.dice, log=log))
        self.parts = Parts(lambda name, error: log.crash("controller.part_ended", error, part=name))
        self.stopping = False
        self._working = False
        self._warned: set[str] = set()

    def start(self, stop: Callable[[], object]) -> None:
        """Begin; `stop` is called where a part ends, which none does by itself. Call it once, inside the loop."""
        self.parts.stop = stop
        for name, watch in self.watches.items():
            self.parts.keep(name, watch.run())
        self.parts.keep("queue", self.queue.run())
        self.parts.keep("leader", self._lead())

    @property
    def broken(self) -> bool:
        """Whether a part of it has ended, which none should."""
        return self.parts.broken

    @property
    def missing(self) -> list[str]:
        """Return what is not known yet."""
        return [name for name, watch in self.watches.items() if not watch.listed.is_set()]

    @property
    def working(self) -> bool:
        """Whether this replica is the one that works."""
        return self._working

    def faults(self) -> list[str]:
        """Return what a restart may mend."""
        found = ["a part of the controller has ended"] if self.broken else []
        stuck = self.clock.monotonic() - self.queue.beat > STUCK
        return [*found, "the queue does not turn"] if stuck else found

    def open_namespaces(self) -> set[str]:
        """Return the namespaces with AWSIAMRoles that may have any role."""
        names = {seen.resource.namespace for seen in self.roles}
        return {name for name in names if unrestricted(self.rules, self.namespaces.get(name))}

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, let what is under way end, and give the Lease up."""
        self.stopping = True
        await self.queue.drain(seconds)
        self._working = False
        if self.leader is not None:
            await self.parts.end("leader")  # first: it would take the Lease again
            await self.leader.release()

    async def close(self) -> None:
        """End it."""
        await self.parts.close()
        await self.issuing.close()
        self._client.close()

    # --- within ----------------------------------------------------------------------------------------

    def _watched(self, watch: Callable[..., Watch[Any, Any]]) -> dict[str, Watch[Any, Any]]:
        where, selector = self.config.namespace, (("labelSelector", wire.SELECTOR),)
        roles = Watched(wire.path(wire.ROLES, where), wire.RoleForm, wire.seen_of)
        secrets = Watched(wire.path(wire.SECRETS, where), wire.SecretForm, wire.held_of, selector)
        found = {"awsiamroles": watch(roles, self.roles), "secrets": watch(secrets, self.secrets)}
        if self.rules.restrictions != "off":
            only = (("fieldSelector", f"metadata.name={where}"),) if where else ()
            kept = Watched(wire.NAMESPACES, HasMeta, self.namespaces.kept, only, metadata_only=True)
            found["namespaces"] = watch(kept, self.namespaces)
        return found

    async def _lead(self) -> None:
        """Work once everything is known, and while this replica leads."""
        await asyncio.gather(*(watch.listed.wait() for watch in self.watches.values()))
        if self.leader is not None:
            await self.leader.run(self._begin, self._end)
        self._begin()
        await asyncio.Event().wait()

    def _begin(self) -> None:
        self._working = True
        keys = {seen.key for seen in self.roles} | {(held.namespace, held.name) for held in self.secrets}
        for key in keys:
            self._changed(key)

    def _end(self) -> None:
        self._working = False
        self.queue.drop_all()

    def _changed(self, key: tuple[str, str]) -> None:
        if self._working:
            self.queue.add(key)
            self._warn(key[0])

    def _changed_in(self, namespace: str) -> None:
        for seen in self.roles if self._working else ():
            if seen.resource.namespace == namespace:
                self._changed(seen.key)

    def _warn(self, namespace: str) -> None:
        """Say once that a namespace's AWSIAMRoles get any role, and again where it has become so anew."""
        if not unrestricted(self.rules, self.namespaces.get(namespace)):
            self._warned.discard(namespace)
        elif namespace not in self._warned and self.rules.restrictions != "off":
            self._warned.add(namespace)
            self._log.warning(
                "controller.any_role", namespace=namespace, why="it has no list of roles",
                hint=f"annotate it with {self.rules.namespace_key}, or set --namespace-restrictions everywhere",
            )  # fmt: skip

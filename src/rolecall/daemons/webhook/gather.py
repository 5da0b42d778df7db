"""Everything that is known of one service account, gathered before anything is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rolecall.daemons.webhook.rules import ConfigEntry, Facts


class Source(Protocol):
    """A store that something in the background fills; `listed` is set when it was filled for the first time."""

    name: str
    listed: asyncio.Event
    fault: str

    def __len__(self) -> int: ...


class Accounts(Source, Protocol):
    """The cluster's service accounts, out of a watch."""

    def find(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a service account's annotations as far as they decide; None where it is not known."""

    async def look_up(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Ask the API server for it, shared and bounded; None where there is none. Raises `Upstream`."""


class Associations(Source, Protocol):
    """Who has an association."""

    def find(self, namespace: str, name: str) -> str | None:
        """Return its id, or words to call it by."""


class Roles(Source, Protocol):
    """Roles that a ConfigMap gives."""

    def find(self, namespace: str, name: str) -> ConfigEntry | None:
        """Return the entry of a service account."""


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Gathers facts from the sources that there are; a later source of associations is asked where no former knows."""

    accounts: Accounts
    associations: Sequence[Associations] = ()
    roles: Roles | None = None

    @property
    def sources(self) -> list[Source]:
        """All of them."""
        return [self.accounts, *self.associations, *([self.roles] if self.roles is not None else [])]

    @property
    def missing(self) -> list[str]:
        """The sources that were not listed yet: until then nobody knows who has no role."""
        return [source.name for source in self.sources if not source.listed.is_set()]

    async def listed(self) -> None:
        """Wait until all were."""
        for source in self.sources:
            await source.listed.wait()

    def known(self, namespace: str, name: str) -> Facts | None:
        """Return the facts, or None where the service account is not known and has to be asked for."""
        annotations = self.accounts.find(namespace, name)
        return None if annotations is None else self._with(annotations, namespace, name)

    async def ask(self, namespace: str, name: str) -> Facts:
        """Return the facts, having asked the API server for the service account; raises `Upstream`.

        A pod's service account exists before the pod does, so one that is not known is one that the watch has not
        told of yet.
        """
        return self._with(await self.accounts.look_up(namespace, name), namespace, name)

    def _with(self, annotations: Mapping[str, str] | None, namespace: str, name: str) -> Facts:
        found = (source.find(namespace, name) for source in self.associations)
        return Facts(
            annotations=annotations,
            association_id=next((one for one in found if one is not None), None),
            entry=None if self.roles is None else self.roles.find(namespace, name),
        )

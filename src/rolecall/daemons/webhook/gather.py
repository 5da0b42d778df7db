"""Everything that is known of one service account, gathered before anything is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rolecall.daemons.webhook.rules import ConfigEntry, Facts
from rolecall.errors import Upstream


class Source(Protocol):
    """A store that something in the background fills; `listed` is set when it was filled for the first time.

    `fault` is what is wrong with it now. `run` fills it, for ever.
    """

    name: str

    @property
    def listed(self) -> asyncio.Event: ...

    @property
    def fault(self) -> str: ...

    def __len__(self) -> int: ...

    async def run(self) -> None: ...


class Accounts(Source, Protocol):
    """The cluster's service accounts, out of a watch; `live` says whether changes arrive now."""

    @property
    def live(self) -> bool: ...

    def find(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a service account's annotations as far as they decide; None where it is not known."""
        ...

    async def look_up(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Ask the API server for it, shared and bounded; None where there is none. Raises `Upstream`."""
        ...


class Associations(Source, Protocol):
    """Who has an association."""

    def find(self, namespace: str, name: str) -> str | None:
        """Return its id, or words to call it by."""
        ...


@runtime_checkable
class Askable(Protocol):
    """A source of associations that can be asked for one; `live` says whether what it holds is of now."""

    @property
    def live(self) -> bool: ...

    async def look_up(self, namespace: str, name: str) -> str | None:
        """Ask for it, shared and bounded. Raises `Upstream`."""
        ...


class Roles(Source, Protocol):
    """Roles that a ConfigMap gives."""

    def find(self, namespace: str, name: str) -> ConfigEntry | None:
        """Return the entry of a service account."""
        ...


@dataclass(slots=True)
class Gatherer:
    """Gathers facts from the sources that there are; a later source of associations is asked where no former knows.

    `role_key` is the annotation that names a role. `unconfirmed` counts reviews that were answered by what the watches
    had told, since nobody could be asked.
    """

    accounts: Accounts
    role_key: str
    associations: Sequence[Associations] = ()
    roles: Roles | None = None
    unconfirmed: int = field(default=0, init=False)
    _complete: bool = field(default=False, init=False)

    @property
    def sources(self) -> list[Source]:
        """All of them."""
        return [self.accounts, *self.associations, *([self.roles] if self.roles is not None else [])]

    @property
    def missing(self) -> list[str]:
        """The sources that were not listed yet: until then nobody knows who has no role."""
        return [source.name for source in self.sources if not source.listed.is_set()]

    @property
    def complete(self) -> bool:
        """Whether none is missing, which none becomes again."""
        self._complete = self._complete or not self.missing
        return self._complete

    async def listed(self) -> None:
        """Wait until all were."""
        for source in self.sources:
            await source.listed.wait()

    def known(self, namespace: str, name: str) -> Facts | None:
        """Return the facts where they give a role; None where somebody has to be asked whether that is all.

        A watch tells a moment later, so what it has not told of may be there nevertheless.
        """
        annotations = self.accounts.find(namespace, name)
        if annotations is None:
            return None
        facts = self._facts(annotations, self._association(namespace, name), namespace, name)
        return facts if self._gives_role(facts) else None

    async def ask(self, namespace: str, name: str) -> Facts:
        """Return the facts, having asked for the service account and its association as they are now.

        Raises `Upstream` where they cannot be had: where nobody answers, and what is known already is not of now.
        """
        annotations, association = await asyncio.gather(
            self._ask_account(namespace, name), self._ask_association(namespace, name)
        )
        return self._facts(annotations, association, namespace, name)

    async def _ask_account(self, namespace: str, name: str) -> Mapping[str, str] | None:
        try:
            return await self.accounts.look_up(namespace, name)
        except Upstream:
            found = self.accounts.find(namespace, name)
            if found is None or not self.accounts.live:
                raise
            self.unconfirmed += 1
            return found

    async def _ask_association(self, namespace: str, name: str) -> str | None:
        found = self._association(namespace, name)
        for source in () if found is not None else self.associations:
            if not isinstance(source, Askable):
                continue
            try:
                found = await source.look_up(namespace, name)
            except Upstream:
                found = source.find(namespace, name)  # meanwhile it may have been listed
                if found is None and not source.live:
                    raise
                self.unconfirmed += found is None
            if found is not None:
                return found
        return found

    def _association(self, namespace: str, name: str) -> str | None:
        for source in self.associations:
            found = source.find(namespace, name)
            if found is not None:
                return found
        return None

    def _facts(
        self, annotations: Mapping[str, str] | None, association: str | None, namespace: str, name: str
    ) -> Facts:
        entry = None if self.roles is None else self.roles.find(namespace, name)
        return Facts(annotations=annotations, association_id=association, entry=entry)

    def _gives_role(self, facts: Facts) -> bool:
        given = facts.association_id is not None or facts.entry is not None
        return given or bool((facts.annotations or {}).get(self.role_key))

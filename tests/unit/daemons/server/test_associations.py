"""The association rules over a store of their own: what happens when two calls meet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from rolecall.core.names import AccountId, ClusterName, Namespace, Partition, Region, RoleArn, ServiceAccountName
from rolecall.core.records import Association, ClusterFacts
from rolecall.daemons.server.associations import Associations, Page
from rolecall.errors import ServiceError

CLUSTER = ClusterFacts(
    ClusterName("demo"), Partition("aws"), Region("us-west-2"), AccountId("123456789012"), "https://i"
)
ROLE, OTHER = (f"arn:aws:iam::123456789012:role/{name}" for name in ("one", "two"))
TARGET = "arn:aws:iam::210987654321:role/target"
CREATE = {"clusterName": "demo", "namespace": "ns", "serviceAccount": "sa", "roleArn": ROLE}


class MemoryStore:
    """A store in memory. `before_write` runs once, before the next change is looked at."""

    def __init__(self) -> None:
        self.kept: dict[str, Association] = {}
        self.before_write: Callable[[], Awaitable[object]] | None = None

    async def _interrupt(self) -> None:
        work, self.before_write = self.before_write, None
        if work is not None:
            await work()

    async def add(self, association: Association, client_token: str | None) -> Association:
        self.kept[association.id] = association
        return association

    async def made_with(self, cluster: ClusterName, client_token: str) -> Association | None:
        return None

    async def find(self, cluster: ClusterName, association_id: str) -> Association | None:
        return self.kept.get(association_id)

    async def of_account(
        self, cluster: ClusterName, namespace: Namespace, service_account: ServiceAccountName
    ) -> Association | None:
        return None

    async def page(
        self, cluster: ClusterName, namespace: str | None, service_account: str | None, after: str, most: int
    ) -> Page:
        return Page((), None)

    async def replace(self, association: Association, before: Association) -> bool:
        await self._interrupt()
        if self.kept.get(association.id) != before:
            return False
        self.kept[association.id] = association
        return True

    async def remove(self, cluster: ClusterName, association_id: str) -> bool:
        await self._interrupt()
        return self.kept.pop(association_id, None) is not None


class FakeWorld:
    """One cluster in which every role exists."""

    async def cluster(self, name: ClusterName) -> ClusterFacts | None:
        return CLUSTER if name == CLUSTER.name else None

    async def refuse_role(self, role: RoleArn) -> None:
        return None

    def new_id(self) -> str:
        return "a-1"

    def now(self) -> float:
        return 1_700_000_000.0


def meeting(
    first: Callable[[Associations], Awaitable[Mapping[str, Any]]],
    meanwhile: Callable[[Associations], Awaitable[Mapping[str, Any]]],
) -> tuple[dict[str, Association], Mapping[str, Any]]:
    """Let `meanwhile` happen between `first`'s reading and its writing; return what is kept, and first's answer."""

    async def story() -> tuple[dict[str, Association], Mapping[str, Any]]:
        store = MemoryStore()
        associations = Associations(store, FakeWorld())
        await associations.create(CREATE)
        store.before_write = lambda: meanwhile(associations)
        answer = await first(associations)
        return store.kept, answer

    return asyncio.run(story())


def update(**change: Any) -> Callable[[Associations], Awaitable[Mapping[str, Any]]]:
    """Return an update of the association."""
    return lambda associations: associations.update({"clusterName": "demo", "associationId": "a-1"} | change)


def delete(associations: Associations) -> Awaitable[Mapping[str, Any]]:
    """Delete the association."""
    return associations.delete({"clusterName": "demo", "associationId": "a-1"})


def test_two_updates_that_meet_both_count() -> None:
    """Neither undoes what the other changed, and the answer shows both."""
    kept, answer = meeting(update(roleArn=OTHER), update(targetRoleArn=TARGET, disableSessionTags=True))
    assert (str(kept["a-1"].role), str(kept["a-1"].target_role)) == (OTHER, TARGET)
    assert kept["a-1"].disable_session_tags is True
    assert kept["a-1"].external_id == "us-west-2/123456789012/demo/ns/sa"
    assert (answer["association"]["roleArn"], answer["association"]["targetRoleArn"]) == (OTHER, TARGET)


@pytest.mark.parametrize("late", [update(roleArn=OTHER), delete], ids=["update", "delete"])
def test_what_was_deleted_meanwhile_is_gone(late: Callable[[Associations], Awaitable[Mapping[str, Any]]]) -> None:
    """404 for the slower call; an update never brings a deleted association back."""
    with pytest.raises(ServiceError) as caught:
        meeting(late, delete)
    assert (caught.value.status, caught.value.code) == (404, "ResourceNotFoundException")

"""Associations in SQLite: what two calls that meet may do to one another, and the cluster's limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plane_in_process import Plane
from rolecall.core.names import Arn, ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.records import Association
from rolecall.daemons.local_aws.eks import association_store
from rolecall.daemons.local_aws.eks.association_store import SqliteAssociations
from rolecall.errors import ServiceError
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop

ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/one")


def association(number: int, cluster: str = CLUSTER) -> Association:
    """Return an association of service account ``sa-<number>``."""
    identifier = f"a-{number:017d}"
    arn = f"arn:aws:eks:us-west-2:123456789012:podidentityassociation/{cluster}/{identifier}"
    return Association(
        id=identifier,
        arn=Arn.parse(arn),
        cluster=ClusterName(cluster),
        namespace=Namespace("demo-ns"),
        service_account=ServiceAccountName(f"sa-{number}"),
        role=ROLE,
        created_at=1_700_000_000.25,
        modified_at=1_700_000_000.25,
        tags={"a": "b"},
    )


@pytest.fixture
def store(plane: Plane) -> SqliteAssociations:
    """The store of a plane with a cluster."""
    Laptop(plane)
    return SqliteAssociations(plane.database, plane.world)


def test_what_is_kept_comes_back_equal(plane: Plane, store: SqliteAssociations) -> None:
    """By id, by account and by client token, every field."""
    one = replace(
        association(1), target_role=ROLE, external_id="x", disable_session_tags=True, modified_at=1_700_000_001.5
    )
    assert plane.run(store.add(one, "t" * 36)) == one
    assert plane.run(store.find(one.cluster, one.id)) == one
    assert plane.run(store.of_account(one.cluster, one.namespace, one.service_account)) == one
    assert plane.run(store.made_with(one.cluster, "t" * 36)) == one
    assert plane.run(store.made_with(one.cluster, "u" * 36)) is None


def test_a_change_of_something_stale_is_not_kept(plane: Plane, store: SqliteAssociations) -> None:
    """The second of two changes that read the same is told so, and may try again."""
    one = association(1)
    plane.run(store.add(one, None))
    first = replace(one, disable_session_tags=True)
    second = replace(one, target_role=ROLE, external_id="x")
    assert plane.run(store.replace(first, one)) is True
    assert plane.run(store.replace(second, one)) is False
    assert plane.run(store.find(one.cluster, one.id)) == first
    assert plane.run(store.remove(one.cluster, one.id)) is True
    assert plane.run(store.remove(one.cluster, one.id)) is False
    assert plane.run(store.replace(second, first)) is False


def test_two_that_race_for_a_service_account_are_one(plane: Plane, store: SqliteAssociations) -> None:
    """The transaction itself refuses the second, whatever was looked at before."""
    one = association(1)
    plane.run(store.add(one, None))
    again = replace(association(2), service_account=one.service_account)
    with pytest.raises(ServiceError) as caught:
        plane.run(store.add(again, None))
    assert (caught.value.status, caught.value.code) == (409, "ResourceInUseException")


def test_a_cluster_that_is_gone_meanwhile_takes_none(plane: Plane, store: SqliteAssociations) -> None:
    """404, not a fault of the database."""
    with pytest.raises(ServiceError) as caught:
        plane.run(store.add(association(1, "nowhere"), None))
    assert (caught.value.status, caught.value.code) == (404, "ResourceNotFoundException")


def test_a_cluster_has_a_limit(plane: Plane, store: SqliteAssociations, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 in AWS; here three, so that the test is short."""
    assert association_store.MOST_PER_CLUSTER == 5000
    monkeypatch.setattr(association_store, "MOST_PER_CLUSTER", 3)
    for number in range(3):
        plane.run(store.add(association(number), None))
    with pytest.raises(ServiceError) as caught:
        plane.run(store.add(association(3), None))
    assert (caught.value.status, caught.value.code) == (400, "ResourceLimitExceededException")


def test_what_ends_is_listed_for_agents(plane: Plane, store: SqliteAssociations) -> None:
    """Changed, deleted, or gone with its cluster; once each, after the moment that was asked about, by cluster."""
    cluster = ClusterName(CLUSTER)
    plane.run(store.add(association(1), None))
    plane.run(store.add(association(2), None))
    start = plane.run(store.revoked(cluster, -1))
    assert start.association_ids == (), "what was made has ended nothing"
    plane.run(store.replace(replace(association(1), disable_session_tags=True), association(1)))
    plane.run(store.remove(cluster, association(2).id))
    after = plane.run(store.revoked(cluster, start.seq))
    assert (set(after.association_ids), after.whole) == ({association(1).id, association(2).id}, True)
    assert plane.run(store.revoked(cluster, after.seq)).association_ids == ()
    assert plane.run(store.revoked(ClusterName("other"), start.seq)).association_ids == ()
    plane.client("eks").delete_cluster(name=CLUSTER)
    gone = plane.run(store.revoked(cluster, after.seq))
    assert gone.association_ids == (association(1).id,)


def test_a_list_that_may_have_gaps_says_so(plane: Plane, store: SqliteAssociations) -> None:
    """For a moment before the oldest that is kept, and for one of another database, which lies ahead of all."""
    cluster = ClusterName(CLUSTER)
    plane.run(store.add(association(1), None))
    far = "INSERT INTO sqlite_sequence (name, seq) VALUES ('revocations', 20000)"
    plane.run(plane.database.run(lambda tx: tx.execute(far)))
    for flag in (True, False):
        before = plane.run(store.find(cluster, association(1).id))
        assert before is not None
        plane.run(store.replace(replace(before, disable_session_tags=flag), before))
    assert plane.run(store.revoked(cluster, 20_001)).whole
    assert not plane.run(store.revoked(cluster, 5)).whole
    assert not plane.run(store.revoked(cluster, 90_000)).whole

"""The two users and their access keys (IAM API Reference), and whose state a directory is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Keys, Plane
from rolecall.core.names import AccountId, Region
from rolecall.core.secrets import Secret
from rolecall.errors import Misconfigured


def refusal(plane: Plane, operation: str, keys: Keys | None = None, **params: Any) -> tuple[str, int]:
    before = plane.tables()
    with pytest.raises(ClientError) as caught:
        getattr(plane.client("iam", keys), operation)(**params)
    assert plane.tables() == before
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def test_the_users(plane: Plane) -> None:
    """Two are there; without a name a user sees itself; nobody else exists."""
    iam = plane.client("iam")
    assert [user["UserName"] for user in iam.list_users()["Users"]] == ["admin", "node"]
    assert iam.get_user()["User"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    assert iam.get_user(UserName="node")["User"]["UserId"].startswith("AIDA")
    assert refusal(plane, "get_user", UserName="nobody") == ("NoSuchEntity", 404)


def test_a_key_can_be_replaced(plane: Plane) -> None:
    """A new key works, the old one stops the moment it is inactive or deleted; the last one stays."""
    iam = plane.client("iam")
    made = iam.create_access_key()["AccessKey"]
    new = Keys(made["AccessKeyId"], Secret(made["SecretAccessKey"]))
    assert (made["UserName"], made["Status"], made["AccessKeyId"][:4]) == ("admin", "Active", "AKIA")
    assert refusal(plane, "create_access_key") == ("LimitExceeded", 409)
    with_new, old = plane.client("iam", new), plane.admin.access_key_id
    listed = with_new.list_access_keys()["AccessKeyMetadata"]
    assert {key["AccessKeyId"] for key in listed} == {new.access_key_id, old}
    assert all("SecretAccessKey" not in key for key in listed)
    with_new.update_access_key(AccessKeyId=old, Status="Inactive")
    assert refusal(plane, "get_user") == ("InvalidClientTokenId", 403)
    assert refusal(plane, "delete_access_key", new, AccessKeyId=new.access_key_id) == ("DeleteConflict", 409)
    with_new.update_access_key(AccessKeyId=old, Status="Active")
    assert iam.get_user()["User"]["UserName"] == "admin"
    with_new.delete_access_key(AccessKeyId=old)
    assert refusal(plane, "get_user") == ("InvalidClientTokenId", 403)
    assert refusal(plane, "update_access_key", new, AccessKeyId=new.access_key_id, Status="Inactive") == (
        "DeleteConflict",
        409,
    )
    assert refusal(plane, "delete_access_key", new, AccessKeyId=old) == ("NoSuchEntity", 404)


def test_the_node_may_not_make_keys(plane: Plane) -> None:
    """Not for admin, and not for itself."""
    assert refusal(plane, "create_access_key", plane.node, UserName="admin") == ("AccessDenied", 403)
    assert refusal(plane, "create_access_key", plane.node) == ("AccessDenied", 403)


def test_a_second_start_goes_on_where_the_first_was(plane: Plane) -> None:
    """The same keys, the same users, nothing made twice."""
    before, keys = plane.tables(), plane.admin
    plane.restart()
    assert plane.tables() == before
    assert plane.admin == keys


@pytest.mark.parametrize(
    ("settings", "whose"),
    [
        ({"account": AccountId.parse("210987654321")}, f"account {ACCOUNT}"),
        ({"region": Region.parse("cn-north-1")}, "partition aws"),
    ],
    ids=["account", "partition"],
)
def test_state_belongs_to_one_account(tmp_path: Path, settings: dict[str, Any], whose: str) -> None:
    """A start for another account or partition on the same state is refused, with the way out, and changes nothing."""
    with Plane.open(tmp_path) as plane:
        before = plane.tables()
    with (
        pytest.raises(Misconfigured, match=f"this state belongs to {whose}") as caught,
        Plane.open(tmp_path, **settings),
    ):
        pass
    assert "--state-dir" in caught.value.hint
    with Plane.open(tmp_path, region=Region.parse("eu-central-1")) as plane:
        assert plane.tables() == before

"""The two users of the plane, admin and node, and their access keys."""

from __future__ import annotations

from typing import Any

from rolecall.daemons.local_aws.iam.pages import page
from rolecall.daemons.local_aws.iam.records import add_key
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations, Target
from rolecall.daemons.local_aws.principals import User
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import ServiceError

MOST_KEYS = 2


def _name(call: Call) -> str:
    """Return the user that is named, else the caller itself."""
    named: str | None = call.params.get("UserName")
    if named is not None:
        return named
    if isinstance(call.principal, User):
        return call.principal.name
    raise ServiceError("ValidationError", "Must specify userName when calling with non-User credentials")


def _target(_tx: Tx, call: Call) -> Target:
    named = call.params.get("UserName") or (call.principal.name if call.principal else "")
    return Target(call.world.iam_arn(f"user/{named}"), f"user {named}")


def _all(_tx: Tx, call: Call) -> Target:
    arn = call.world.iam_arn("user/")
    return Target(arn, arn)


def _existing(tx: Tx, call: Call) -> Row:
    name = _name(call)
    row: Row | None = tx.execute("SELECT * FROM users WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise ServiceError("NoSuchEntity", f"The user with name {name} cannot be found.", status=404)
    return row


def _shown(row: Row) -> dict[str, Any]:
    return {
        "Path": "/",
        "UserName": row["name"],
        "UserId": row["user_id"],
        "Arn": row["arn"],
        "CreateDate": row["created_at"],
    }


def _get(tx: Tx, call: Call) -> Answer:
    return {"User": _shown(_existing(tx, call))}


def _list(tx: Tx, call: Call) -> Answer:
    return page("Users", tx.execute("SELECT * FROM users ORDER BY name").fetchall(), call.params, _shown)


def _keys(tx: Tx, user: str) -> list[Row]:
    return tx.execute("SELECT * FROM access_keys WHERE user = ? ORDER BY created_at, id", (user,)).fetchall()


def _shown_key(row: Row) -> dict[str, Any]:
    return {
        "UserName": row["user"],
        "AccessKeyId": row["id"],
        "Status": row["status"],
        "CreateDate": row["created_at"],
    }


def _list_keys(tx: Tx, call: Call) -> Answer:
    return page("AccessKeyMetadata", _keys(tx, _existing(tx, call)["name"]), call.params, _shown_key)


def _create_key(tx: Tx, call: Call) -> Answer:
    user = _existing(tx, call)["name"]
    if len(_keys(tx, user)) >= MOST_KEYS:
        raise ServiceError("LimitExceeded", f"Cannot exceed quota for AccessKeysPerUser: {MOST_KEYS}", status=409)
    identifier, secret = add_key(tx, user, call.now)
    key = {"UserName": user, "AccessKeyId": identifier, "Status": "Active", "CreateDate": call.now}
    return {"AccessKey": key | {"SecretAccessKey": secret.reveal()}}


def _key(tx: Tx, call: Call) -> Row:
    user, identifier = _existing(tx, call)["name"], call.params["AccessKeyId"]
    found = [row for row in _keys(tx, user) if row["id"] == identifier]
    if not found:
        raise ServiceError("NoSuchEntity", f"The Access Key with id {identifier} cannot be found.", status=404)
    return found[0]


def _not_the_last(tx: Tx, key: Row) -> None:
    """Refuse to take away the only active key: nobody could make another one."""
    others = [row for row in _keys(tx, key["user"]) if row["id"] != key["id"] and row["status"] == "Active"]
    if key["status"] == "Active" and not others:
        raise ServiceError(
            "DeleteConflict",
            f"This is the only active key of user {key['user']}, and rolecall dev needs one: create another first.",
            status=409,
        )


def _update_key(tx: Tx, call: Call) -> Answer:
    key = _key(tx, call)
    if call.params["Status"] not in ("Active", "Inactive"):
        raise ServiceError("ValidationError", "Status must be Active or Inactive")
    if call.params["Status"] == "Inactive":
        _not_the_last(tx, key)
    tx.execute("UPDATE access_keys SET status = ? WHERE id = ?", (call.params["Status"], key["id"]))
    return {}


def _delete_key(tx: Tx, call: Call) -> Answer:
    key = _key(tx, call)
    _not_the_last(tx, key)
    tx.execute("DELETE FROM access_keys WHERE id = ?", (key["id"],))
    return {}


OPERATIONS: Operations = {
    "GetUser": Operation("iam:GetUser", _target, act=_get),
    "ListUsers": Operation("iam:ListUsers", _all, act=_list),
    "ListAccessKeys": Operation("iam:ListAccessKeys", _target, act=_list_keys),
    "CreateAccessKey": Operation("iam:CreateAccessKey", _target, act=_create_key),
    "UpdateAccessKey": Operation("iam:UpdateAccessKey", _target, act=_update_key),
    "DeleteAccessKey": Operation("iam:DeleteAccessKey", _target, act=_delete_key),
}

"""Roles: who may have them (the trust policy), for how long, under which tags."""

from __future__ import annotations

from typing import Any

import msgspec

from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.iam.documents import checked_trust, encoded
from rolecall.daemons.local_aws.iam.pages import page
from rolecall.daemons.local_aws.iam.records import Role, find_role_by_name, roles_below
from rolecall.daemons.local_aws.iam.tags import limited, read_tags, show_tags
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations, Target
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import ServiceError

_DEFAULT_SESSION = 3600


def target(tx: Tx, call: Call) -> Target:
    """Return the role that a call names: its own ARN, whose path the call does not say."""
    name = call.params["RoleName"]
    role = find_role_by_name(tx, name)
    arn = call.world.iam_arn(f"role/{name}") if role is None else str(role.arn)
    return Target(arn, f"role {name}")


def _new(_tx: Tx, call: Call) -> Target:
    arn = call.world.iam_arn(f"role{call.params.get('Path', '/')}{call.params['RoleName']}")
    return Target(arn, arn)


def _all(_tx: Tx, call: Call) -> Target:
    arn = call.world.iam_arn(f"role{call.params.get('PathPrefix', '/')}")
    return Target(arn, arn)


def existing(tx: Tx, name: str) -> Role:
    """Return a role; raises `ServiceError` NoSuchEntity."""
    role = find_role_by_name(tx, name)
    if role is None:
        raise ServiceError("NoSuchEntity", f"The role with name {name} cannot be found.", status=404)
    return role


def _shown(role: Role) -> dict[str, Any]:
    return {
        "Path": role.arn.path,
        "RoleName": role.arn.name,
        "RoleId": role.role_id,
        "Arn": str(role.arn),
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": encoded(role.trust),
        "Description": role.description,
        "MaxSessionDuration": role.max_session,
    }


def _create(tx: Tx, call: Call) -> Answer:
    params = call.params
    name, path = params["RoleName"], params.get("Path", "/")
    if params.get("PermissionsBoundary"):
        raise ServiceError(
            "InvalidInput",
            "PermissionsBoundary is refused: boundaries are not enforced yet, and ignoring one grants more.",
        )
    if find_role_by_name(tx, name) is not None:
        raise ServiceError("EntityAlreadyExists", f"Role with name {name} already exists.", status=409)
    trust = checked_trust(tx, call.world, params["AssumeRolePolicyDocument"])
    tags = read_tags(params.get("Tags", ()))
    tx.execute(
        "INSERT INTO roles (name, path, role_id, arn, description, trust, max_session, tags, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            path,
            ids.unique_id("AROA"),
            call.world.iam_arn(f"role{path}{name}"),
            params.get("Description"),
            trust,
            params.get("MaxSessionDuration", _DEFAULT_SESSION),
            msgspec.json.encode(tags).decode(),
            call.now,
        ),
    )
    role = existing(tx, name)
    return {"Role": _shown(role) | ({"Tags": show_tags(role.tags)} if role.tags else {})}


def _get(tx: Tx, call: Call) -> Answer:
    role = existing(tx, call.params["RoleName"])
    return {"Role": _shown(role) | {"Tags": show_tags(role.tags), "RoleLastUsed": {}}}


def _list(tx: Tx, call: Call) -> Answer:
    return page("Roles", roles_below(tx, call.params.get("PathPrefix", "/")), call.params, _shown)


def _delete(tx: Tx, call: Call) -> Answer:
    role = existing(tx, call.params["RoleName"])
    owner = f"role/{role.arn.name}"
    if tx.execute("SELECT 1 FROM attachments WHERE owner = ?", (owner,)).fetchone():
        raise ServiceError("DeleteConflict", "Cannot delete entity, must detach all policies first.", status=409)
    if tx.execute("SELECT 1 FROM inline_policies WHERE owner = ?", (owner,)).fetchone():
        raise ServiceError("DeleteConflict", "Cannot delete entity, must delete policies first.", status=409)
    tx.execute("DELETE FROM roles WHERE role_id = ?", (role.role_id,))
    return {}


def _update_trust(tx: Tx, call: Call) -> Answer:
    role = existing(tx, call.params["RoleName"])
    trust = checked_trust(tx, call.world, call.params["PolicyDocument"])
    tx.execute("UPDATE roles SET trust = ? WHERE role_id = ?", (trust, role.role_id))
    return {}


def _update(tx: Tx, call: Call) -> Answer:
    role = existing(tx, call.params["RoleName"])
    tx.execute(
        "UPDATE roles SET max_session = ?, description = ? WHERE role_id = ?",
        (
            call.params.get("MaxSessionDuration", role.max_session),
            call.params.get("Description", role.description),
            role.role_id,
        ),
    )
    return {}


def _keep_tags(tx: Tx, role: Role, tags: dict[str, str]) -> Answer:
    tx.execute("UPDATE roles SET tags = ? WHERE role_id = ?", (msgspec.json.encode(tags).decode(), role.role_id))
    return {}


def _tag(tx: Tx, call: Call) -> Answer:
    role = existing(tx, call.params["RoleName"])
    new = read_tags(call.params["Tags"])
    replaced = {key.lower() for key in new}
    kept = {key: value for key, value in role.tags.items() if key.lower() not in replaced}
    return _keep_tags(tx, role, limited(kept | new))


def _untag(tx: Tx, call: Call) -> Answer:
    role = existing(tx, call.params["RoleName"])
    return _keep_tags(tx, role, {key: value for key, value in role.tags.items() if key not in call.params["TagKeys"]})


def _list_tags(tx: Tx, call: Call) -> Answer:
    role = existing(tx, call.params["RoleName"])
    return page("Tags", show_tags(role.tags), call.params, lambda tag: tag)


OPERATIONS: Operations = {
    "CreateRole": Operation("iam:CreateRole", _new, act=_create),
    "GetRole": Operation("iam:GetRole", target, act=_get),
    "ListRoles": Operation("iam:ListRoles", _all, act=_list),
    "DeleteRole": Operation("iam:DeleteRole", target, act=_delete),
    "UpdateAssumeRolePolicy": Operation("iam:UpdateAssumeRolePolicy", target, act=_update_trust),
    "UpdateRole": Operation("iam:UpdateRole", target, act=_update),
    "TagRole": Operation("iam:TagRole", target, act=_tag),
    "UntagRole": Operation("iam:UntagRole", target, act=_untag),
    "ListRoleTags": Operation("iam:ListRoleTags", target, act=_list_tags),
}

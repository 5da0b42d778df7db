"""Managed policies and their versions, of which one is in force."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from rolecall.core.policy.document import minified_length
from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.iam.documents import LONGEST_MANAGED, checked, encoded
from rolecall.daemons.local_aws.iam.pages import page
from rolecall.daemons.local_aws.iam.tags import read_tags, show_tags
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations, Target
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import ServiceError

MOST_VERSIONS = 5
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")


def target(_tx: Tx, call: Call) -> Target:
    """Return the policy that a call names by its ARN."""
    arn = call.params["PolicyArn"]
    return Target(arn, f"policy {arn}")


def _new(_tx: Tx, call: Call) -> Target:
    arn = call.world.iam_arn(f"policy{call.params.get('Path', '/')}{call.params['PolicyName']}")
    return Target(arn, f"policy {call.params['PolicyName']}")


def _all(_tx: Tx, call: Call) -> Target:
    prefix = call.params.get("PathPrefix", "/")
    return Target(call.world.iam_arn(f"policy{prefix}"), f"policy path {prefix}")


def existing(tx: Tx, arn: str) -> Row:
    """Return a policy's row; raises `ServiceError` NoSuchEntity."""
    row: Row | None = tx.execute("SELECT * FROM policies WHERE arn = ?", (arn,)).fetchone()
    if row is None:
        raise ServiceError("NoSuchEntity", f"Policy {arn} was not found.", status=404)
    return row


def _own(tx: Tx, arn: str) -> Row:
    """Return a policy's row; AWS's own policies cannot be changed."""
    row = existing(tx, arn)
    if arn.split(":")[4] == "aws":
        raise ServiceError("AccessDenied", f"The policy {arn} is AWS's own and cannot be changed.", status=403)
    return row


def _attached(tx: Tx, arn: str) -> int:
    (count,) = tx.execute("SELECT count(*) FROM attachments WHERE policy_arn = ?", (arn,)).fetchone()
    return int(count)


def _shown(tx: Tx, row: Row) -> dict[str, Any]:
    return {
        "PolicyName": row["name"],
        "PolicyId": row["policy_id"],
        "Arn": row["arn"],
        "Path": row["path"],
        "DefaultVersionId": f"v{row['default_version']}",
        "AttachmentCount": _attached(tx, row["arn"]),
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": True,
        "CreateDate": row["created_at"],
        "UpdateDate": row["updated_at"],
    }


def _document(text: str) -> str:
    if minified_length(text) > LONGEST_MANAGED:
        raise ServiceError("LimitExceeded", f"Cannot exceed quota for PolicySize: {LONGEST_MANAGED}", status=409)
    return checked(text, "identity")


def _create(tx: Tx, call: Call) -> Answer:
    params = call.params
    name, path = params["PolicyName"], params.get("Path", "/")
    arn = call.world.iam_arn(f"policy{path}{name}")
    # AWS's own policies are another account's: their names are free.
    same = tx.execute("SELECT arn FROM policies WHERE name = ?", (name,)).fetchall()
    if any(row["arn"].split(":")[4] != "aws" for row in same):
        raise ServiceError(
            "EntityAlreadyExists",
            f"A policy called {name} already exists. Duplicate names are not allowed.",
            status=409,
        )
    document, tags = _document(params["PolicyDocument"]), read_tags(params.get("Tags", ()))
    tx.execute(
        "INSERT INTO policies (arn, name, path, policy_id, description, default_version, last_version, tags,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, 1, 1, ?, ?, ?)",
        (
            arn,
            name,
            path,
            ids.unique_id("ANPA"),
            params.get("Description"),
            msgspec.json.encode(tags).decode(),
            call.now,
            call.now,
        ),
    )
    _add_version(tx, arn, 1, document, call.now)
    return {"Policy": _shown(tx, existing(tx, arn)) | ({"Tags": show_tags(tags)} if tags else {})}


def _add_version(tx: Tx, arn: str, number: int, document: str, now: float) -> None:
    tx.execute(
        "INSERT INTO policy_versions (arn, version, document, created_at) VALUES (?, ?, ?, ?)",
        (arn, number, document, now),
    )


def _get(tx: Tx, call: Call) -> Answer:
    row = existing(tx, call.params["PolicyArn"])
    tags = msgspec.json.decode(row["tags"])
    return {"Policy": _shown(tx, row) | {"Description": row["description"], "Tags": show_tags(tags)}}


def _list(tx: Tx, call: Call) -> Answer:
    params = call.params
    prefix, scope = params.get("PathPrefix", "/"), params.get("Scope", "All")
    rows = tx.execute(
        "SELECT * FROM policies WHERE substr(path, 1, ?) = ? ORDER BY name", (len(prefix), prefix)
    ).fetchall()
    owner_is_aws = {"AWS": (True,), "Local": (False,)}.get(scope, (True, False))
    kept = [row for row in rows if (row["arn"].split(":")[4] == "aws") in owner_is_aws]
    if params.get("PolicyUsageFilter") == "PermissionsBoundary":
        kept = []
    if params.get("OnlyAttached"):
        kept = [row for row in kept if _attached(tx, row["arn"])]
    return page("Policies", kept, params, lambda row: _shown(tx, row))


def _delete(tx: Tx, call: Call) -> Answer:
    row = _own(tx, call.params["PolicyArn"])
    if _attached(tx, row["arn"]):
        raise ServiceError("DeleteConflict", "Cannot delete a policy attached to entities.", status=409)
    (count,) = tx.execute("SELECT count(*) FROM policy_versions WHERE arn = ?", (row["arn"],)).fetchone()
    if count > 1:
        raise ServiceError(
            "DeleteConflict",
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
            "The default version is deleted with the policy.",
            status=409,
        )
    tx.execute("DELETE FROM policies WHERE arn = ?", (row["arn"],))
    return {}


def _version_row(tx: Tx, call: Call) -> Row:
    policy = existing(tx, call.params["PolicyArn"])
    named = _VERSION.fullmatch(call.params["VersionId"])
    row: Row | None = None
    if named is not None:
        row = tx.execute(
            "SELECT v.*, p.default_version FROM policy_versions v JOIN policies p ON p.arn = v.arn"
            " WHERE v.arn = ? AND v.version = ?",
            (policy["arn"], int(named[1])),
        ).fetchone()
    if row is None:
        raise ServiceError(
            "NoSuchEntity",
            f"Policy {policy['arn']} version {call.params['VersionId']} does not exist or is not attachable.",
            status=404,
        )
    return row


def _shown_version(row: Row) -> dict[str, Any]:
    return {
        "VersionId": f"v{row['version']}",
        "IsDefaultVersion": row["version"] == row["default_version"],
        "CreateDate": row["created_at"],
    }


def _get_version(tx: Tx, call: Call) -> Answer:
    row = _version_row(tx, call)
    return {"PolicyVersion": _shown_version(row) | {"Document": encoded(row["document"])}}


def _list_versions(tx: Tx, call: Call) -> Answer:
    policy = existing(tx, call.params["PolicyArn"])
    rows = tx.execute(
        "SELECT v.*, p.default_version FROM policy_versions v JOIN policies p ON p.arn = v.arn"
        " WHERE v.arn = ? ORDER BY v.version DESC",
        (policy["arn"],),
    ).fetchall()
    return page("Versions", rows, call.params, _shown_version)


def _create_version(tx: Tx, call: Call) -> Answer:
    policy = _own(tx, call.params["PolicyArn"])
    document = _document(call.params["PolicyDocument"])
    (count,) = tx.execute("SELECT count(*) FROM policy_versions WHERE arn = ?", (policy["arn"],)).fetchone()
    if count >= MOST_VERSIONS:
        raise ServiceError(
            "LimitExceeded",
            f"A managed policy can have up to {MOST_VERSIONS} versions. Before you create a new version, you must"
            " delete an existing version.",
            status=409,
        )
    number = policy["last_version"] + 1
    _add_version(tx, policy["arn"], number, document, call.now)
    default = number if call.params.get("SetAsDefault") else policy["default_version"]
    tx.execute(
        "UPDATE policies SET last_version = ?, default_version = ?, updated_at = ? WHERE arn = ?",
        (number, default, call.now, policy["arn"]),
    )
    shown = {"VersionId": f"v{number}", "IsDefaultVersion": default == number, "CreateDate": call.now}
    return {"PolicyVersion": shown}


def _delete_version(tx: Tx, call: Call) -> Answer:
    _own(tx, call.params["PolicyArn"])
    row = _version_row(tx, call)
    if row["version"] == row["default_version"]:
        raise ServiceError("DeleteConflict", "Cannot delete the default version of a policy.", status=409)
    tx.execute("DELETE FROM policy_versions WHERE arn = ? AND version = ?", (row["arn"], row["version"]))
    return {}


def _set_default(tx: Tx, call: Call) -> Answer:
    _own(tx, call.params["PolicyArn"])
    row = _version_row(tx, call)
    tx.execute(
        "UPDATE policies SET default_version = ?, updated_at = ? WHERE arn = ?",
        (row["version"], call.now, row["arn"]),
    )
    return {}


OPERATIONS: Operations = {
    "CreatePolicy": Operation("iam:CreatePolicy", _new, act=_create),
    "GetPolicy": Operation("iam:GetPolicy", target, act=_get),
    "ListPolicies": Operation("iam:ListPolicies", _all, act=_list),
    "DeletePolicy": Operation("iam:DeletePolicy", target, act=_delete),
    "CreatePolicyVersion": Operation("iam:CreatePolicyVersion", target, act=_create_version),
    "GetPolicyVersion": Operation("iam:GetPolicyVersion", target, act=_get_version),
    "ListPolicyVersions": Operation("iam:ListPolicyVersions", target, act=_list_versions),
    "DeletePolicyVersion": Operation("iam:DeletePolicyVersion", target, act=_delete_version),
    "SetDefaultPolicyVersion": Operation("iam:SetDefaultPolicyVersion", target, act=_set_default),
}

"""What a role may do: the managed policies attached to it, and its inline ones."""

from __future__ import annotations

from rolecall.core.policy.document import minified_length
from rolecall.daemons.local_aws.iam import managed_policies
from rolecall.daemons.local_aws.iam.documents import LONGEST_INLINE, checked, encoded
from rolecall.daemons.local_aws.iam.pages import page
from rolecall.daemons.local_aws.iam.roles import existing, target
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import ServiceError

MOST_ATTACHED = 10


def _owner(tx: Tx, call: Call) -> str:
    return f"role/{existing(tx, call.params['RoleName']).arn.name}"


def _attach(tx: Tx, call: Call) -> Answer:
    owner, arn = _owner(tx, call), managed_policies.existing(tx, call.params["PolicyArn"])["arn"]
    present = [row["policy_arn"] for row in tx.execute("SELECT policy_arn FROM attachments WHERE owner = ?", (owner,))]
    if arn not in present:
        if len(present) >= MOST_ATTACHED:
            raise ServiceError("LimitExceeded", f"Cannot exceed quota for PoliciesPerRole: {MOST_ATTACHED}", status=409)
        tx.execute(
            "INSERT INTO attachments (owner, policy_arn, attached_at) VALUES (?, ?, ?)",
            (owner, arn, call.now),
        )
    return {}


def _detach(tx: Tx, call: Call) -> Answer:
    gone = tx.execute(
        "DELETE FROM attachments WHERE owner = ? AND policy_arn = ?",
        (_owner(tx, call), call.params["PolicyArn"]),
    ).rowcount
    if not gone:
        raise ServiceError("NoSuchEntity", f"Policy {call.params['PolicyArn']} was not found.", status=404)
    return {}


def _list_attached(tx: Tx, call: Call) -> Answer:
    rows = tx.execute(
        "SELECT p.name, p.arn FROM attachments a JOIN policies p ON p.arn = a.policy_arn"
        " WHERE a.owner = ? AND substr(p.path, 1, ?) = ? ORDER BY p.name",
        (_owner(tx, call), len(call.params.get("PathPrefix", "/")), call.params.get("PathPrefix", "/")),
    ).fetchall()
    return page(
        "AttachedPolicies",
        rows,
        call.params,
        lambda row: {"PolicyName": row["name"], "PolicyArn": row["arn"]},
    )


def _put(tx: Tx, call: Call) -> Answer:
    owner, name = _owner(tx, call), call.params["PolicyName"]
    document = checked(call.params["PolicyDocument"], "identity")
    others = tx.execute("SELECT document FROM inline_policies WHERE owner = ? AND name != ?", (owner, name)).fetchall()
    if minified_length(document) + sum(minified_length(row["document"]) for row in others) > LONGEST_INLINE:
        raise ServiceError(
            "LimitExceeded",
            f"Maximum policy size of {LONGEST_INLINE} bytes exceeded for role {call.params['RoleName']}",
            status=409,
        )
    tx.execute(
        "INSERT INTO inline_policies (owner, name, document) VALUES (?, ?, ?)"
        " ON CONFLICT (owner, name) DO UPDATE SET document = excluded.document",
        (owner, name, document),
    )
    return {}


def _inline(tx: Tx, call: Call) -> Row:
    row: Row | None = tx.execute(
        "SELECT * FROM inline_policies WHERE owner = ? AND name = ?",
        (_owner(tx, call), call.params["PolicyName"]),
    ).fetchone()
    if row is None:
        raise ServiceError(
            "NoSuchEntity",
            f"The role policy with name {call.params['PolicyName']} cannot be found.",
            status=404,
        )
    return row


def _get(tx: Tx, call: Call) -> Answer:
    row = _inline(tx, call)
    return {
        "RoleName": call.params["RoleName"],
        "PolicyName": row["name"],
        "PolicyDocument": encoded(row["document"]),
    }


def _list(tx: Tx, call: Call) -> Answer:
    rows = tx.execute("SELECT name FROM inline_policies WHERE owner = ? ORDER BY name", (_owner(tx, call),)).fetchall()
    return page("PolicyNames", rows, call.params, lambda row: row["name"])


def _delete(tx: Tx, call: Call) -> Answer:
    row = _inline(tx, call)
    tx.execute("DELETE FROM inline_policies WHERE owner = ? AND name = ?", (row["owner"], row["name"]))
    return {}


OPERATIONS: Operations = {
    "AttachRolePolicy": Operation("iam:AttachRolePolicy", target, act=_attach),
    "DetachRolePolicy": Operation("iam:DetachRolePolicy", target, act=_detach),
    "ListAttachedRolePolicies": Operation("iam:ListAttachedRolePolicies", target, act=_list_attached),
    "PutRolePolicy": Operation("iam:PutRolePolicy", target, act=_put),
    "GetRolePolicy": Operation("iam:GetRolePolicy", target, act=_get),
    "ListRolePolicies": Operation("iam:ListRolePolicies", target, act=_list),
    "DeleteRolePolicy": Operation("iam:DeleteRolePolicy", target, act=_delete),
}

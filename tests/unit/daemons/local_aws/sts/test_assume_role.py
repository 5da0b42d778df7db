"""AssumeRole, asked by unmodified botocore: who is admitted, for which session, and for how long.

Expected codes and sentences: STS API Reference (AssumeRole), IAM User Guide ("Passing session tags", "Roles terms
and concepts: role chaining", "Monitor and control actions taken with assumed roles").
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Keys, Plane

ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALL = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]


def role_arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def trusting(principal: str, actions: list[str], condition: dict[str, Any] | None = None) -> str:
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": actions}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def make_role(plane: Plane, name: str, trust: str, **more: Any) -> None:
    plane.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust, **more)


def assume(plane: Plane, name: str, keys: Keys | None = None, **more: Any) -> dict[str, Any]:
    wanted = {"RoleArn": role_arn(name), "RoleSessionName": "tester"} | more
    answer: dict[str, Any] = plane.client("sts", keys, validate=False).assume_role(**wanted)
    return answer


def refusal(plane: Plane, name: str, keys: Keys | None = None, **more: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        assume(plane, name, keys, **more)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]


def held(plane: Plane, keys: Keys) -> dict[str, Any]:
    """Return what the plane keeps of a session."""
    row = plane.run(
        plane.database.run(
            lambda tx: tx.execute("SELECT * FROM sessions WHERE access_key_id = ?", (keys.access_key_id,)).fetchone()
        )
    )
    return {
        "tags": json.loads(row["tags"]),
        "transitive": json.loads(row["transitive_keys"]),
        "identity": row["source_identity"],
    }


def test_a_session_is_what_was_asked_for(plane: Plane) -> None:
    """The answer names the session, its keys work, and GetCallerIdentity says who they are."""
    make_role(plane, "worker", trusting(ADMIN, ALL), Path="/team/x/")
    answer = plane.client("sts").assume_role(RoleArn=role_arn("team/x/worker"), RoleSessionName="one@two")
    identity = plane.client("sts", Keys.of(answer["Credentials"])).get_caller_identity()
    role_id = plane.client("iam").get_role(RoleName="worker")["Role"]["RoleId"]
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/one@two"
    assert answer["Credentials"]["Expiration"].timestamp() == int(plane.clock.now()) + 3600
    assert answer["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert identity["Arn"] == answer["AssumedRoleUser"]["Arn"]
    assert identity["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"] == f"{role_id}:one@two"
    assert identity["Account"] == ACCOUNT


def test_a_session_lasts_exactly_as_long_as_it_says(plane: Plane) -> None:
    """Its keys work until the second before Expiration, and from then on are ExpiredToken, as AWS words it."""
    make_role(plane, "worker", trusting(ADMIN, ALL))
    answer = assume(plane, "worker", DurationSeconds=900)
    keys = Keys.of(answer["Credentials"])
    left = answer["Credentials"]["Expiration"].timestamp() - plane.clock.now()
    plane.advance(left - 1)
    assert plane.client("sts", keys).get_caller_identity()["Account"] == ACCOUNT
    plane.advance(1)
    with pytest.raises(ClientError) as query:
        plane.client("sts", keys).get_caller_identity()
    with pytest.raises(ClientError) as rest:
        plane.client("eks", keys).list_clusters()
    assert query.value.response["Error"] == {
        "Type": "Sender",
        "Code": "ExpiredToken",
        "Message": "The security token included in the request is expired",
    }
    assert rest.value.response["Error"]["Code"] == "ExpiredTokenException"
    assert {error.value.response["ResponseMetadata"]["HTTPStatusCode"] for error in (query, rest)} == {403}


def test_the_plane_can_cap_sessions(tmp_path: Any) -> None:
    """With a cap, clients ask for what they like and get less: rotation can be seen within seconds."""
    with Plane.open(tmp_path, max_session_seconds=7) as plane:
        make_role(plane, "worker", trusting(ADMIN, ALL))
        keys = Keys.of(assume(plane, "worker", DurationSeconds=3600)["Credentials"])
        plane.advance(7)
        with pytest.raises(ClientError, match="ExpiredToken"):
            plane.client("sts", keys).get_caller_identity()


def test_a_role_that_was_made_again_is_another_role(plane: Plane) -> None:
    """Sessions of a deleted role are dead, and a new role of the same name does not revive them."""
    make_role(plane, "worker", trusting(ADMIN, ALL))
    keys = Keys.of(assume(plane, "worker")["Credentials"])
    plane.client("iam").delete_role(RoleName="worker")
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            plane.client("sts", keys).get_caller_identity()
        assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"
        if not plane.client("iam").list_roles()["Roles"]:
            make_role(plane, "worker", trusting(ADMIN, ALL))


def test_sessions_survive_a_restart(plane: Plane) -> None:
    """What was answered is on disk."""
    make_role(plane, "worker", trusting(ADMIN, ALL))
    keys = Keys.of(assume(plane, "worker")["Credentials"])
    plane.restart()
    assert plane.client("sts", keys).get_caller_identity()["Arn"].endswith(":assumed-role/worker/tester")


DENIED = f"User: {ADMIN} is not authorized to perform: {{}} on resource: {role_arn('worker')}"
DENIALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "another principal": (trusting(f"arn:aws:iam::{ACCOUNT}:user/node", ALL), {}, "sts:AssumeRole"),
    "only tags": (trusting(ADMIN, ["sts:TagSession"]), {}, "sts:AssumeRole"),
    "tags without TagSession": (
        trusting(ADMIN, ["sts:AssumeRole"]),
        {"Tags": [{"Key": "team", "Value": "x"}]},
        "sts:TagSession",
    ),
    "an identity without SetSourceIdentity": (
        trusting(ADMIN, ["sts:AssumeRole", "sts:TagSession"]),
        {"SourceIdentity": "alice"},
        "sts:SetSourceIdentity",
    ),
    "no external id": (trusting(ADMIN, ALL, {"StringEquals": {"sts:ExternalId": "s3cret"}}), {}, "sts:AssumeRole"),
    "a wrong external id": (
        trusting(ADMIN, ALL, {"StringEquals": {"sts:ExternalId": "s3cret"}}),
        {"ExternalId": "s3creT"},
        "sts:AssumeRole",
    ),
    "a tag of another value": (
        trusting(ADMIN, ALL, {"StringEquals": {"aws:RequestTag/team": "x"}}),
        {"Tags": [{"Key": "team", "Value": "y"}]},
        "sts:AssumeRole",
    ),
}


@pytest.mark.parametrize("case", DENIALS)
def test_denied_by_the_trust_policy(plane: Plane, case: str) -> None:
    """AccessDenied 403 with AWS's sentence, which names the caller, the missing action and the role."""
    trust, request, action = DENIALS[case]
    make_role(plane, "worker", trust)
    assert refusal(plane, "worker", **request) == ("AccessDenied", 403, DENIED.format(action))


def test_a_role_that_does_not_exist_looks_like_one_that_does_not_trust(plane: Plane) -> None:
    """STS does not say which roles exist, not even by comparing a duration with the role's maximum."""
    make_role(plane, "closed", trusting(f"arn:aws:iam::{ACCOUNT}:user/node", ALL))
    for name in ("absent", "closed"):
        code, status, message = refusal(plane, name, DurationSeconds=43200)
        assert (code, status) == ("AccessDenied", 403)
        assert message == f"User: {ADMIN} is not authorized to perform: sts:AssumeRole on resource: {role_arn(name)}"


def test_the_right_external_id_and_tags_are_admitted(plane: Plane) -> None:
    """Conditions on what is asked for are evaluated with what is asked for."""
    condition = {
        "StringEquals": {"sts:ExternalId": "s3cret", "aws:RequestTag/team": "x", "sts:RoleSessionName": "tester"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["team"], "sts:TransitiveTagKeys": ["team"]},
    }
    make_role(plane, "worker", trusting(ADMIN, ALL, condition))
    answer = assume(
        plane,
        "worker",
        ExternalId="s3cret",
        Tags=[{"Key": "team", "Value": "x"}],
        TransitiveTagKeys=["team"],
        SourceIdentity="alice",
    )
    assert answer["SourceIdentity"] == "alice"
    assert held(plane, Keys.of(answer["Credentials"])) == {
        "tags": {"team": "x"},
        "transitive": ["team"],
        "identity": "alice",
    }


def test_trust_in_the_account_needs_the_callers_own_permission(plane: Plane) -> None:
    """``:root`` delegates: a caller whose identity policies do not allow it is denied, one whose do is admitted."""
    make_role(plane, "worker", trusting(ROOT, ALL))
    assert assume(plane, "worker")["AssumedRoleUser"]["Arn"].endswith("/worker/tester")
    assert refusal(plane, "worker", plane.node)[:2] == ("AccessDenied", 403)


def chain(plane: Plane) -> Keys:
    """Return the keys of a first session, tagged, with an identity; the second role trusts the first."""
    make_role(plane, "first", trusting(ADMIN, ALL), MaxSessionDuration=43200)
    make_role(plane, "second", trusting(role_arn("first"), ALL), MaxSessionDuration=43200)
    answer = assume(
        plane,
        "first",
        Tags=[{"Key": "Kept", "Value": "k"}, {"Key": "dropped", "Value": "d"}],
        TransitiveTagKeys=["Kept"],
        SourceIdentity="alice",
        DurationSeconds=43200,
    )
    return Keys.of(answer["Credentials"])


def test_a_chain_passes_on_transitive_tags_and_identity_only(plane: Plane) -> None:
    """Transitive tags stay transitive; others end with their session; the source identity stays."""
    second = assume(plane, "second", chain(plane), Tags=[{"Key": "own", "Value": "o"}], DurationSeconds=3600)
    assert held(plane, Keys.of(second["Credentials"])) == {
        "tags": {"Kept": "k", "own": "o"},
        "transitive": ["Kept"],
        "identity": "alice",
    }


TRANSITIVE = (
    "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the "
    "calling session."
)
CHAIN_REFUSALS: dict[str, tuple[dict[str, Any], tuple[str, int, str]]] = {
    "over an hour": (
        {"DurationSeconds": 3601},
        (
            "ValidationError",
            400,
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ),
    ),
    "an inherited tag again": (
        {"Tags": [{"Key": "kept", "Value": "other"}]},
        (
            "InvalidParameterValue",
            400,
            TRANSITIVE,
        ),
    ),
}


@pytest.mark.parametrize("case", CHAIN_REFUSALS)
def test_a_chain_cannot(plane: Plane, case: str) -> None:
    """Role chaining's own limits are errors, never silent corrections."""
    request, expected = CHAIN_REFUSALS[case]
    assert refusal(plane, "second", chain(plane), **request) == expected


def test_a_chain_cannot_change_its_source_identity(plane: Plane) -> None:
    """Once set, the source identity cannot be replaced."""
    assert refusal(plane, "second", chain(plane), SourceIdentity="mallory")[:2] == ("AccessDenied", 403)


def test_inherited_tags_need_tag_session_too(plane: Plane) -> None:
    """A role that does not allow sts:TagSession refuses a session that brings transitive tags."""
    keys = chain(plane)
    make_role(plane, "third", trusting(role_arn("first"), ["sts:AssumeRole", "sts:SetSourceIdentity"]))
    code, _, message = refusal(plane, "third", keys)
    assert code == "AccessDenied"
    assert "is not authorized to perform: sts:TagSession on resource" in message


REQUESTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "session policy": ({"Policy": "{}"}, "ValidationError", "does not enforce Policy yet"),
    "session policies": (
        {"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]},
        "ValidationError",
        "does not enforce PolicyArns yet",
    ),
    "too long for the role": (
        {"DurationSeconds": 3601},
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    ),
    "too short": ({"DurationSeconds": 899}, "ValidationError", "greater than or equal to 900"),
    "session name": (
        {"RoleSessionName": "a b"},
        "ValidationError",
        "1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: ",
    ),
    "no role's ARN": ({"RoleArn": f"arn:aws:iam::{ACCOUNT}:user/worker"}, "ValidationError", "is not a role ARN"),
    "tag twice": (
        {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]},
        "ValidationError",
        "twice",
    ),
    "reserved tag": ({"Tags": [{"Key": "aws:x", "Value": "1"}]}, "ValidationError", "reserved"),
    "transitive key without its tag": ({"TransitiveTagKeys": ["a"]}, "ValidationError", "not in Tags"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_impossible_requests(plane: Plane, case: str) -> None:
    """400 with a sentence that names what is wrong, and no session is made."""
    request, code, message = REQUESTS[case]
    make_role(plane, "worker", trusting(ADMIN, ALL))
    found = refusal(plane, "worker", **request)
    assert found[:2] == (code, 400)
    assert message in found[2]
    assert plane.tables()["sessions"] == []


def test_tags_have_a_packed_size(plane: Plane) -> None:
    """Fifty long tags that do not compress are PackedPolicyTooLarge, with the percentage; six of EKS's fit."""
    make_role(plane, "worker", trusting(ADMIN, ALL))

    def noise(number: int) -> str:
        return "".join(hashlib.sha256(f"{number}.{part}".encode()).hexdigest() for part in range(4))

    many = [{"Key": f"k{number}", "Value": noise(number)} for number in range(50)]
    code, status, message = refusal(plane, "worker", Tags=many)
    assert (code, status) == ("PackedPolicyTooLarge", 400)
    assert message.startswith("Packed size of session tags consumes ")
    assert message.endswith("% of allotted space.")
    assert assume(plane, "worker", Tags=many[:6])["Credentials"]


def test_who_the_users_are(plane: Plane) -> None:
    """GetCallerIdentity needs no permission: the node key, which may do nothing else here, may ask."""
    identity = plane.client("sts", plane.node).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/node"
    assert identity["UserId"].startswith("AIDA")
    assert identity["Account"] == ACCOUNT

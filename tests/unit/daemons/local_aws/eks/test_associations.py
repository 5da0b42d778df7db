"""Pod Identity associations, by unmodified botocore: what AWS was seen to do (landscape.md §2.1)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from plane_in_process import ACCOUNT, Keys, Plane
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, POD_IDENTITY_TRUST, Laptop, document, fault

EXTERNAL_ID = f"us-west-2/{ACCOUNT}/demo/demo-ns/demo-sa"
OTHER_ACCOUNTS = "arn:aws:iam::210987654321:role/target"


@pytest.fixture
def laptop(plane: Plane) -> Laptop:
    """A cluster, and the roles one and two."""
    made = Laptop(plane)
    made.role("one")
    made.role("two")
    return made


def arn(role: str) -> str:
    """Return the ARN of a role of the account."""
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


def refused(laptop: Laptop, operation: str, **params: Any) -> tuple[int, str, str]:
    """Return status, code and message of an error; nothing was written."""
    before = laptop.plane.tables()
    with pytest.raises(ClientError) as caught:
        getattr(laptop.eks, f"{operation}_pod_identity_association")(**({"clusterName": CLUSTER} | params))
    assert laptop.plane.tables() == before
    error = caught.value.response["Error"]
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def test_created_and_described(laptop: Laptop) -> None:
    """All members, with id and ARN in AWS's forms; describe answers to both."""
    made = laptop.associate(arn("one"), tags={"team": "x"})
    assert re.fullmatch(r"a-[a-z0-9]{17}", made["associationId"])
    assert made["associationArn"] == (
        f"arn:aws:eks:us-west-2:{ACCOUNT}:podidentityassociation/demo/{made['associationId']}"
    )
    assert (made["clusterName"], made["namespace"], made["serviceAccount"]) == ("demo", "demo-ns", "demo-sa")
    assert (made["roleArn"], made["tags"], made["disableSessionTags"]) == (arn("one"), {"team": "x"}, False)
    assert made["createdAt"] == made["modifiedAt"]
    assert abs(made["createdAt"].timestamp() - laptop.plane.clock.now()) < 0.002
    assert not {"targetRoleArn", "externalId", "ownerArn", "policy"} & made.keys()
    for name in (made["associationId"], made["associationArn"]):
        described = laptop.eks.describe_pod_identity_association(clusterName=CLUSTER, associationId=name)
        assert described["association"] == made


def test_a_restart_keeps_everything(laptop: Laptop) -> None:
    """Every member, target role and tags included."""
    made = laptop.associate(arn("one"), targetRoleArn=OTHER_ACCOUNTS, disableSessionTags=True, tags={"a": ""})
    laptop.plane.restart()
    found = laptop.plane.client("eks").describe_pod_identity_association(
        clusterName=CLUSTER, associationId=made["associationId"]
    )
    assert found["association"] == made
    assert (made["targetRoleArn"], made["externalId"]) == (OTHER_ACCOUNTS, EXTERNAL_ID)


def test_one_per_service_account(laptop: Laptop) -> None:
    """409 names the one that is there; other accounts, namespaces and clusters are free."""
    made = laptop.associate(arn("one"))
    again = {"namespace": "demo-ns", "serviceAccount": "demo-sa", "roleArn": arn("two")}
    assert refused(laptop, "create", **again) == (
        409,
        "ResourceInUseException",
        f"Association already exists: {made['associationId']}",
    )
    laptop.cluster("second")
    for other in ({"serviceAccount": "other"}, {"namespace": "other"}, {"clusterName": "second"}):
        laptop.associate(**({"role": arn("one")} | {"service_account": other.pop("serviceAccount", "demo-sa")} | other))


def test_one_role_serves_two_clusters(laptop: Laptop) -> None:
    """The same role, unchanged, in both; each association has its cluster's own ARN."""
    laptop.cluster("second")
    first, second = laptop.associate(arn("one")), laptop.associate(arn("one"), clusterName="second")
    assert first["roleArn"] == second["roleArn"]
    assert "/second/" in second["associationArn"]
    assert refused(laptop, "describe", associationId=second["associationArn"])[:2] == (404, "ResourceNotFoundException")


def test_the_same_client_token_replays_the_first_result(laptop: Laptop) -> None:
    """Even with other parameters; another token is another call."""
    token = "t" * 33
    made = laptop.associate(arn("one"), clientRequestToken=token)
    assert laptop.associate(arn("one"), clientRequestToken=token) == made
    assert laptop.associate(arn("two"), "other", clientRequestToken=token, policy="{}") == made
    assert len(laptop.plane.tables()["associations"]) == 1
    other = laptop.associate(arn("two"), "other", clientRequestToken="u" * 126)
    assert other["associationId"] != made["associationId"]


def test_a_token_belongs_to_its_cluster_and_dies_with_its_association(laptop: Laptop) -> None:
    """The same token elsewhere, or later, is a new call."""
    token = "t" * 36
    laptop.cluster("second")
    made = laptop.associate(arn("one"), clientRequestToken=token)
    assert laptop.associate(arn("one"), clientRequestToken=token, clusterName="second")["clusterName"] == "second"
    laptop.eks.delete_pod_identity_association(clusterName=CLUSTER, associationId=made["associationId"])
    assert laptop.associate(arn("two"), clientRequestToken=token)["associationId"] != made["associationId"]


def listed(laptop: Laptop, **filters: Any) -> list[str]:
    """Return the service accounts of a list, sorted."""
    found = laptop.eks.list_pod_identity_associations(clusterName=CLUSTER, **filters)["associations"]
    return sorted(f"{one['namespace']}/{one['serviceAccount']}" for one in found)


def test_lists_are_filtered(laptop: Laptop) -> None:
    """By namespace, by service account, by both; the summary leaves out role, times and tags."""
    laptop.cluster("second")
    for cluster, namespace, account in [
        (CLUSTER, "a", "x"), (CLUSTER, "a", "y"), (CLUSTER, "b", "x"), ("second", "a", "x"),
    ]:  # fmt: skip
        laptop.associate(arn("one"), account, namespace=namespace, clusterName=cluster)
    assert listed(laptop) == ["a/x", "a/y", "b/x"]
    assert listed(laptop, namespace="a") == ["a/x", "a/y"]
    assert listed(laptop, serviceAccount="x") == ["a/x", "b/x"]
    assert listed(laptop, namespace="b", serviceAccount="x") == ["b/x"]
    assert listed(laptop, namespace="b", serviceAccount="y") == []
    summary = laptop.eks.list_pod_identity_associations(clusterName=CLUSTER)["associations"][0]
    assert set(summary) == {"clusterName", "namespace", "serviceAccount", "associationArn", "associationId"}


def test_lists_come_in_pages(laptop: Laptop) -> None:
    """Each association once, whatever the page's size, with and without a filter."""
    for number in range(7):
        laptop.associate(arn("one"), f"sa-{number}", namespace="even" if number % 2 == 0 else "odd")
    paginator = laptop.eks.get_paginator("list_pod_identity_associations")
    for filters, wanted in (({}, 7), ({"namespace": "even"}, 4)):
        for size in (1, 2, 3, 7, 100):
            pages = list(paginator.paginate(clusterName=CLUSTER, **filters, PaginationConfig={"PageSize": size}))
            found = [one["serviceAccount"] for page in pages for one in page["associations"]]
            assert len(found) == len(set(found)) == wanted
            assert all(len(page["associations"]) <= size for page in pages)
            assert len(pages) == -(-wanted // size)


def test_updated(laptop: Laptop) -> None:
    """Role, target role and session tags, each on its own; the rest stays, modifiedAt moves."""
    made = laptop.associate(arn("one"), tags={"team": "x"})
    update = {"clusterName": CLUSTER, "associationId": made["associationId"]}
    laptop.plane.advance(10)
    changed = laptop.eks.update_pod_identity_association(**update, roleArn=arn("two"))["association"]
    assert changed == made | {"roleArn": arn("two"), "modifiedAt": changed["modifiedAt"]}
    assert (changed["modifiedAt"] - made["modifiedAt"]).total_seconds() == pytest.approx(10, abs=0.01)
    changed = laptop.eks.update_pod_identity_association(**update, targetRoleArn=OTHER_ACCOUNTS)["association"]
    assert (changed["roleArn"], changed["targetRoleArn"], changed["externalId"]) == (
        arn("two"),
        OTHER_ACCOUNTS,
        EXTERNAL_ID,
    )
    changed = laptop.eks.update_pod_identity_association(**update, disableSessionTags=True)["association"]
    assert (changed["disableSessionTags"], changed["targetRoleArn"]) == (True, OTHER_ACCOUNTS)
    by_arn = update | {"associationId": made["associationArn"]}
    changed = laptop.eks.update_pod_identity_association(**by_arn, disableSessionTags=False)["association"]
    assert changed["disableSessionTags"] is False


def test_an_empty_target_role_clears_it(laptop: Laptop) -> None:
    """And its external id with it."""
    made = laptop.associate(arn("one"), targetRoleArn=OTHER_ACCOUNTS)
    update = {"clusterName": CLUSTER, "associationId": made["associationId"]}
    changed = laptop.eks.update_pod_identity_association(**update, targetRoleArn="")["association"]
    assert not {"targetRoleArn", "externalId"} & changed.keys()
    assert laptop.eks.describe_pod_identity_association(**update)["association"] == changed


def test_a_used_update_token_does_not_replay(laptop: Laptop) -> None:
    """Reused update tokens with new arguments apply the new arguments."""
    made = laptop.associate(arn("one"))
    update = {"clusterName": CLUSTER, "associationId": made["associationId"], "clientRequestToken": "t" * 36}
    laptop.eks.update_pod_identity_association(**update, roleArn=arn("two"))
    changed = laptop.eks.update_pod_identity_association(**update, disableSessionTags=True)["association"]
    assert (changed["roleArn"], changed["disableSessionTags"]) == (arn("two"), True)


def test_deleted(laptop: Laptop) -> None:
    """The answer is the association with a fresh modifiedAt; then it is gone, and its account is free."""
    made = laptop.associate(arn("one"))
    laptop.plane.advance(10)
    named = {"clusterName": CLUSTER, "associationId": made["associationId"]}
    gone = laptop.eks.delete_pod_identity_association(**named)["association"]
    assert gone == made | {"modifiedAt": gone["modifiedAt"]}
    assert gone["modifiedAt"] > made["modifiedAt"]
    missing = f"No service account role association found for ID: {made['associationId']}"
    for operation in ("describe", "delete"):
        assert refused(laptop, operation, associationId=made["associationId"]) == (
            404,
            "ResourceNotFoundException",
            missing,
        )
    assert refused(laptop, "update", associationId=made["associationId"], disableSessionTags=True)[0] == 404
    laptop.associate(arn("two"))


def bad(**changes: Any) -> dict[str, Any]:
    """Return create parameters with something wrong."""
    return {"namespace": "demo-ns", "serviceAccount": "demo-sa", "roleArn": arn("one")} | changes


RULE = 'It should conform to the regular expression "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"'
INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "namespace in capitals": (bad(namespace="Demo"), RULE),
    "namespace with a newline": (bad(namespace="demo\n"), RULE),
    "namespace with a dot": (bad(namespace="a.b"), RULE),
    "namespace empty": (bad(namespace=""), RULE),
    "namespace too long": (bad(namespace="a" * 64), RULE),
    "account with a slash": (bad(serviceAccount="a/b"), "serviceAccount"),
    "account empty": (bad(serviceAccount=""), "serviceAccount"),
    "account too long": (bad(serviceAccount="a" * 254), "serviceAccount"),
    "role by its name": (bad(roleArn="one"), "roleArn"),
    "role that is a user": (bad(roleArn=f"arn:aws:iam::{ACCOUNT}:user/one"), "roleArn"),
    "role that does not exist": (bad(roleArn=arn("three")), arn("three")),
    "role under another path": (bad(roleArn=arn("team/one")), arn("team/one")),
    "role of another partition": (bad(roleArn=f"arn:aws-cn:iam::{ACCOUNT}:role/one"), "does not exist"),
    "role of another account": (bad(roleArn=OTHER_ACCOUNTS), "targetRoleArn"),
    "target that is none": (bad(targetRoleArn="one"), "targetRoleArn"),
    "client token too short": (bad(clientRequestToken="t" * 32), "between 33 and 126 characters"),
    "client token too long": (bad(clientRequestToken="t" * 127), "between 33 and 126 characters"),
    "a session policy": (bad(policy="{}"), "policy is refused"),
    "reserved tag": (bad(tags={"aws:x": "y"}), "reserved"),
    "51 tags": (bad(tags={f"k{number}": "" for number in range(51)}), "50"),
    "a tag key too long": (bad(tags={"k" * 129: ""}), "128"),
    "a tag value too long": (bad(tags={"k": "v" * 257}), "256"),
}


@pytest.mark.parametrize(("params", "says"), INVALID.values(), ids=INVALID)
def test_what_cannot_be_created(refusing: Laptop, params: dict[str, Any], says: str) -> None:
    """InvalidParameterException 400 that names the fault; nothing is written."""
    status, code, message = refused(refusing, "create", **params)
    assert (status, code) == (400, "InvalidParameterException")
    assert says in message


def test_an_unknown_cluster(refusing: Laptop) -> None:
    """404 from all five."""
    missing = (404, "ResourceNotFoundException", "No cluster found for name: nowhere.")
    for operation, params in (
        ("create", bad()),
        ("describe", {"associationId": "a-1"}),
        ("update", {"associationId": "a-1", "disableSessionTags": True}),
        ("delete", {"associationId": "a-1"}),
    ):
        assert refused(refusing, operation, **(params | {"clusterName": "nowhere"})) == missing
    with pytest.raises(ClientError, match="No cluster found for name: nowhere"):
        refusing.eks.list_pod_identity_associations(clusterName="nowhere")


TRUSTS: dict[str, tuple[dict[str, Any], bool]] = {
    "another service": (POD_IDENTITY_TRUST | {"Principal": {"Service": "ec2.amazonaws.com"}}, False),
    "the account's root": (POD_IDENTITY_TRUST | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}, False),
    "no TagSession": (POD_IDENTITY_TRUST | {"Action": "sts:AssumeRole"}, False),
    "denied": (POD_IDENTITY_TRUST | {"Effect": "Deny"}, False),
    "all of sts": (POD_IDENTITY_TRUST | {"Action": "sts:*"}, True),
    "a condition that some pod could meet": (
        POD_IDENTITY_TRUST | {"Condition": {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "elsewhere"}}},
        True,
    ),
}


@pytest.mark.parametrize(("trust", "admits"), TRUSTS.values(), ids=TRUSTS)
def test_a_role_that_can_never_admit_pod_identity_is_refused(
    laptop: Laptop, trust: dict[str, Any], admits: bool
) -> None:
    """Ours: AWS takes such an association, and every pod fails later. What could work is taken."""
    role = laptop.role("three", trust)
    if admits:
        made = laptop.associate(role)
        assert made["roleArn"] == role
        return
    status, code, message = refused(laptop, "create", **bad(roleArn=role))
    assert (status, code) == (400, "InvalidParameterException")
    assert "pods.eks.amazonaws.com" in message
    assert "sts:TagSession" in message


def test_what_cannot_be_updated(laptop: Laptop) -> None:
    """Nothing at all, a missing role, one of another account, a policy, a token out of bounds."""
    laptop.role("deaf", POD_IDENTITY_TRUST | {"Principal": {"Service": "ec2.amazonaws.com"}})
    named = {"associationId": laptop.associate(arn("one"))["associationId"]}
    for change in (
        {},
        {"roleArn": arn("three")},
        {"roleArn": arn("deaf")},
        {"roleArn": OTHER_ACCOUNTS},
        {"targetRoleArn": "one"},
        {"policy": "{}", "disableSessionTags": True},
        {"disableSessionTags": True, "clientRequestToken": "t" * 32},
    ):
        assert refused(laptop, "update", **named, **change)[:2] == (400, "InvalidParameterException")


@pytest.mark.parametrize(
    "name", ["a-", "a-0000000000000000x", "%", "..", "arn:aws:eks:us-west-2:1:podidentityassociation/demo/a"]
)
def test_an_id_that_is_none(refusing: Laptop, name: str) -> None:
    """404, whatever it looks like."""
    assert refused(refusing, "describe", associationId=name)[:2] == (404, "ResourceNotFoundException")


def test_another_arn_with_the_same_id_is_another(laptop: Laptop) -> None:
    """Region, account, cluster and kind count: an ARN is compared whole."""
    made = laptop.associate(arn("one"))["associationArn"]
    for part, other in (("us-west-2", "us-east-1"), (ACCOUNT, "210987654321"), ("/demo/", "/other/"), ("pod", "")):
        named = made.replace(part, other, 1)
        assert refused(laptop, "delete", associationId=named)[:2] == (404, "ResourceNotFoundException")


@pytest.mark.parametrize("most", ["0", "101", "-1", "ten", ""])
def test_the_limit_of_a_list(refusing: Laptop, most: str) -> None:
    """maxResults is 1 to 100, and a number."""
    target = f"/clusters/{CLUSTER}/pod-identity-associations?maxResults={most}"
    assert fault(refusing.plane.call(refusing.plane.signed("GET", target, service="eks"))) == (
        400,
        "InvalidParameterException",
    )


def test_policies_decide_by_the_associations_arn(laptop: Laptop) -> None:
    """A role that may describe one association may not delete it, nor make others."""
    made = laptop.associate(arn("one"))
    reader = laptop.role("reader", {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    one = {"Effect": "Allow", "Action": "eks:DescribePodIdentityAssociation", "Resource": made["associationArn"]}
    laptop.iam.put_role_policy(RoleName="reader", PolicyName="one", PolicyDocument=document(one))
    session = laptop.plane.client("sts").assume_role(RoleArn=reader, RoleSessionName="me")
    eks = laptop.plane.client("eks", Keys.of(session["Credentials"]))
    named = {"clusterName": CLUSTER, "associationId": made["associationId"]}
    assert eks.describe_pod_identity_association(**named)["association"] == made
    for denied in (
        lambda: eks.delete_pod_identity_association(**named),
        lambda: eks.create_pod_identity_association(clusterName=CLUSTER, **bad(serviceAccount="other")),
        lambda: eks.list_pod_identity_associations(clusterName=CLUSTER),
    ):
        with pytest.raises(ClientError, match="AccessDeniedException"):
            denied()

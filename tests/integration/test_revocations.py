"""An association that is deleted or changed ends in seconds, also for a pod whose token the agent knows."""

from __future__ import annotations

import http.client
import json

from integration.dev_plane import CLUSTER, DevPlane, role_arn, wait_until
from integration.test_agent_process import get, pod_token

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }
    ],
}


def test_a_pod_that_runs_is_refused_soon_after(stage: DevPlane) -> None:
    """First another role, then none: the same token at the same agent, which had its credentials in its cache."""
    iam, eks = stage.client("iam"), stage.client("eks")
    for name in ("revoked-one", "revoked-two"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    made = eks.create_pod_identity_association(
        clusterName=CLUSTER, namespace="revoked", serviceAccount="sa", roleArn=role_arn("revoked-one")
    )["association"]
    agent = stage.agent_url.removeprefix("http://")

    def role_of(token: str) -> str:
        status, body, _ = get(agent, token=token)
        if status != 200:
            return str(status)
        key = json.loads(body)["AccessKeyId"]
        return stage.shell("rolecall", "session", "describe", key).stdout.partition("assumed-role/")[2].split("/")[0]

    with pod_token(stage, "revoked", "sa") as token:
        assert role_of(token) == "revoked-one"
        assert get(agent, token=token) == get(agent, token=token), "it is held"
        eks.update_pod_identity_association(
            clusterName=CLUSTER, associationId=made["associationId"], roleArn=role_arn("revoked-two")
        )
        wait_until(lambda: role_of(token) == "revoked-two", "the new role")
        eks.delete_pod_identity_association(clusterName=CLUSTER, associationId=made["associationId"])
        wait_until(lambda: role_of(token) == "404", "the refusal")


def test_the_list_is_for_whoever_may_ask_for_credentials(stage: DevPlane) -> None:
    """An unsigned caller may not read it."""
    path = f"/clusters/{CLUSTER}/pod-identity-revocations?after=-1"
    connection = http.client.HTTPConnection(stage.url.removeprefix("http://"), timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["__type"]) == (403, "MissingAuthenticationTokenException")
    connection.close()

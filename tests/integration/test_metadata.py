"""The plane's metadata services, asked by unmodified clients: the node's own, and what a proxy makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integration.dev_plane import ACCOUNT, CLUSTER, POD_ROLE, DevPlane, role_arn, wait_until
from integration.test_agent_metadata import HERE, OFF, ROLES, ask
from integration.test_agent_pods import PODS, A, Cluster, cluster
from integration.test_agent_process import agent
from integration.test_clients import EXAMPLES, needs_node

__all__ = ["cluster"]

NODE = "assumed-role/rolecall-node/i-0"
WHO = """
import boto3, json
found = boto3.Session().get_credentials()
print(json.dumps([found and found.method, boto3.client("sts").get_caller_identity()["Arn"]]))
"""


def test_any_pod_is_the_node(stage: DevPlane) -> None:
    """Two pods that have nothing in common have the same role; the AWS CLI and boto3 find it by themselves, loudly."""
    first = stage.run_as("demo-ns", "demo-sa", "--via", "host-role", "--", sys.executable, "-c", WHO)
    assert first.returncode == 0, first.stderr
    method, arn = json.loads(first.stdout)
    assert (method, NODE in arn) == ("iam-role", True)
    assert "any pod is the node" in first.stderr
    second = stage.run_as("other", "nobody", "--via", "host-role", "--", "aws", "sts", "get-caller-identity")
    assert json.loads(second.stdout)["Arn"] == arn
    third = stage.run_as("other", "nobody", "--via", "host-role", "--", "aws", "iam", "list-users")
    assert "not authorized to perform: iam:ListUsers" in third.stderr


def test_a_sourced_shell_knows_the_metadata_service(stage: DevPlane) -> None:
    """Without a profile and a key, an AWS client in it is the node; no other has the port."""
    environment = {name: value for name, value in stage.environment.items() if name != "AWS_PROFILE"}
    environment["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"
    done = stage.shell("aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text", env=environment)
    assert NODE in done.stdout, done.stderr
    found = stage.shell("sh", "-c", 'curl -s "$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/meta-data/placement/region"')
    assert found.stdout == "us-west-2"


LEGACY = f"{CLUSTER}-legacy-carts"  # setup.sh makes it: the node may assume it
KEY = "iam.amazonaws.com/role"


SERVICE = '"$AWS_EC2_METADATA_SERVICE_ENDPOINT'
NAME_AND_CODE = f"""curl -s {SERVICE}{ROLES}"; curl -s {SERVICE}{ROLES}{LEGACY}" | grep -o '"Code":"[A-Za-z]*"'"""


def test_behind_a_proxy_a_pod_has_its_own_role(stage: DevPlane) -> None:
    """boto3 finds it at the metadata service, and STS knows the session as one of that role."""
    done = stage.run_as("carts", "web", "--via", "kube2iam", "--role", LEGACY, "--", sys.executable, "-c", WHO)
    assert done.returncode == 0, done.stderr
    method, arn = json.loads(done.stdout)
    assert (method, f"assumed-role/{LEGACY}/" in arn) == ("iam-role", True)


@needs_node
@pytest.mark.node
def test_the_sdk_for_javascript_finds_it_as_well(stage: DevPlane) -> None:
    """Another language's idea of the same service."""
    script = """
    import { STSClient, GetCallerIdentityCommand } from "@aws-sdk/client-sts";
    console.log((await new STSClient({}).send(new GetCallerIdentityCommand({}))).Arn);
    """
    flags = ("--via", "kube2iam", "--annotation", f"{KEY}={role_arn(LEGACY)}")
    command = ("node", "--input-type=module", "-e", script)
    done = stage.run_as("carts", "web", *flags, "--", *command, cwd=EXAMPLES / "js")
    assert f"assumed-role/{LEGACY}/" in done.stdout, done.stderr


def test_kiam_asks_the_namespace(stage: DevPlane) -> None:
    """An annotated pod is given its role where that is permitted, and nothing where it is not."""
    annotate = ("rolecall", "namespace", "annotate", "-n", "permits")
    assert stage.shell(*annotate, f"iam.amazonaws.com/permitted=.*/{LEGACY}").returncode == 0
    flags = ("--via", "kiam", "--role", LEGACY, "--", "sh", "-c", NAME_AND_CODE)
    assert stage.run_as("permits", "web", *flags).stdout == f'{LEGACY}"Code":"Success"\n'
    assert stage.run_as("elsewhere", "web", *flags).stdout == LEGACY
    listed = json.loads(stage.shell("rolecall", "namespace", "list", "-o", "json").stdout)["namespaces"]
    assert [one["name"] for one in listed] == ["permits"]
    assert (
        stage.shell("rolecall", "namespace", "annotate", "-n", "permits", "iam.amazonaws.com/permitted-").returncode
        == 0
    )
    assert stage.run_as("permits", "web", *flags).stdout == LEGACY


def test_metadataproxy_reads_a_variable(stage: DevPlane) -> None:
    """The same as its program sees: what a container is given, it has."""
    script = f'{NAME_AND_CODE}; echo "$IAM_ROLE"'
    flags = ("--via", "metadataproxy", "--env", f"IAM_ROLE={LEGACY}")
    done = stage.run_as("carts", "web", *flags, "--", "sh", "-c", script)
    assert done.stdout == f'{LEGACY}"Code":"Success"\n{LEGACY}\n'


def test_another_pods_role_is_refused_and_the_reason_told(stage: DevPlane) -> None:
    """kube2iam's own words to the pod; the terminal of the plane says which pod asked, and for what."""
    ask = f'curl -s -w %{{http_code}} {SERVICE}{ROLES}{POD_ROLE}"'
    done = stage.run_as("carts", "web", "--via", "kube2iam", "--role", LEGACY, "--", "sh", "-c", ask)
    assert done.stdout == f"Invalid role {POD_ROLE}\n403"
    wait_until(lambda: "kube2iam:credentials  other-role  carts/web-" in stage.output(), "the refusal on the screen")


def test_the_metadata_service_ends_with_its_pod(stage: DevPlane) -> None:
    """Its listener is closed: whoever kept the address finds nobody there."""
    tell = 'echo "$AWS_EC2_METADATA_SERVICE_ENDPOINT"; echo "$NO_PROXY"'
    done = stage.run_as("carts", "web", "--via", "kube2iam", "--", "sh", "-c", tell)
    url, direct = done.stdout.splitlines()
    assert url.startswith("http://127.")
    assert url.removeprefix("http://").partition(":")[0] in direct.split(",")
    assert stage.shell("curl", "-s", f"{url}/latest/meta-data/instance-id").returncode == 7


# --- a network of its own, with the real addresses ---------------------------------------------------------

CAN_UNSHARE = os.geteuid() == 0 and subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0
needs_namespaces = pytest.mark.skipif(
    not CAN_UNSHARE, reason="network namespaces cannot be made here: it takes root (CAP_SYS_ADMIN)"
)


@needs_namespaces
def test_in_its_own_network_the_service_is_at_its_real_address(stage: DevPlane) -> None:
    """boto3 finds 169.254.169.254 by itself; the pod is still told apart, and there is no other network."""
    look = 'env | grep ^AWS_EC2_METADATA_SERVICE_ENDPOINT; ip -j -o link; exec "$0" "$@"'
    flags = ("--via", "kube2iam", "--role", LEGACY, "--own-network")
    done = stage.run_as("carts", "web", *flags, "--", "sh", "-c", look, sys.executable, "-c", WHO)
    assert done.returncode == 0, done.stderr
    links, told = done.stdout.strip().splitlines()
    assert [link["ifname"] for link in json.loads(links)] == ["lo"]
    method, arn = json.loads(told)
    assert (method, f"assumed-role/{LEGACY}/" in arn) == ("iam-role", True)


@needs_namespaces
def test_in_its_own_network_the_agent_is_there_too(stage: DevPlane) -> None:
    """Pod Identity works as outside; there is no metadata service then."""
    token = "$(cat $AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)"
    ask = f'curl -s -H "Authorization: {token}" $AWS_CONTAINER_CREDENTIALS_FULL_URI'
    done = stage.run_as("demo-ns", "demo-sa", "--own-network", "--", "sh", "-c", ask)
    assert json.loads(done.stdout)["AccountId"] == ACCOUNT


@needs_namespaces
def test_what_is_outside_of_its_own_network_is_out_of_reach(stage: DevPlane) -> None:
    """The plane is there, for it is AWS; the laptop's other ports and the world are not. Exit codes pass."""
    asked = ('"$AWS_ENDPOINT_URL/_rolecall/readyz"', stage.imds_url, "http://169.254.169.254", "http://192.0.2.1")
    ask = "; ".join(f"curl -s -m 5 -o /dev/null {url}; echo $?" for url in asked)
    done = stage.run_as("demo-ns", "demo-sa", "--without-role", "--own-network", "--", "sh", "-c", f"{ask}; exit 9")
    assert (done.stdout.split(), done.returncode) == (["0", "7", "7", "7"], 9), done.stderr


def test_a_network_that_cannot_be_made_is_told(stage: DevPlane) -> None:
    """Before the program starts; the hint says how to do without."""
    command = ("rolecall", "run", "-n", "demo-ns", "-s", "demo-sa", "--own-network", "--", "true")
    without = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin") if os.geteuid() == 0 else ()
    done = stage.shell(*without, *command)
    assert (done.returncode, "CAP_SYS_ADMIN" in done.stderr) == (125, True), done.stderr


# --- the agent on the plane's node -------------------------------------------------------------------------


def test_the_plane_is_what_an_agent_on_a_node_has_around_it(stage: DevPlane, cluster: Cluster, tmp_path: Path) -> None:
    """The node's role from the plane's metadata service, roles from its STS; only Kubernetes is somebody else's."""
    annotations = {KEY: LEGACY}
    spec, status = {"nodeName": "here"}, {"phase": "Running", "podIPs": [{"ip": A}]}
    metadata = {"uid": "uid-web", "namespace": "carts", "annotations": annotations}
    cluster.change(lambda: cluster.api.put(PODS, "web", metadata=metadata, spec=spec, status=status))
    flags = ("--dialect", "kube2iam", "--base-role-arn", role_arn(""), "--kubeconfig", str(cluster.kubeconfig))
    env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": stage.imds_url, "AWS_ENDPOINT_URL_STS": stage.url}
    with agent(tmp_path, *HERE, *OFF, *flags, "--node-name", "here", env=env | {"AWS_REGION": "us-west-2"}) as started:
        door = started.door()
        assert ask(door, ROLES, A) == (200, LEGACY.encode())
        status, body = ask(door, f"{ROLES}{LEGACY}", A)
        assert status == 200, body
        found = json.loads(body)
        keys = {"aws_access_key_id": found["AccessKeyId"], "aws_secret_access_key": found["SecretAccessKey"]}
        who = stage.client("sts", **keys, aws_session_token=found["Token"]).get_caller_identity()["Arn"]
        assert f"assumed-role/{LEGACY}/" in who
        assert ask(door, f"{ROLES}rolecall-node", A)[0] == 403
        assert ask(door, "/latest/meta-data/placement/region", A) == (200, b"us-west-2")

"""The plane's metadata services, asked by unmodified clients: the node's own, and what a proxy makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from integration.dev_plane import DevPlane, role_arn, wait_until

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


LEGACY = "eks-pod-identity-demo-legacy-"  # roles that setup.sh makes: the node may assume them
KEY = "iam.amazonaws.com/role"


def who(stage: DevPlane, namespace: str, via: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run boto3 as a pod that says who it is."""
    return stage.run_as(namespace, "web", "--via", via, *flags, "--", sys.executable, "-c", WHO)


@pytest.mark.parametrize(
    ("via", "flags"),
    [
        ("kube2iam", ("--role", f"{LEGACY}carts")),
        ("kube2iam", ("--annotation", f"{KEY}={role_arn(f'{LEGACY}carts')}")),
        ("kiam", ("--role", f"{LEGACY}carts")),
        ("metadataproxy", ("--env", f"IAM_ROLE={LEGACY}carts")),
    ],
)
def test_behind_a_proxy_a_pod_has_its_own_role(stage: DevPlane, via: str, flags: tuple[str, ...]) -> None:
    """boto3 finds it at the metadata service, and STS knows the session as one of that role."""
    done = who(stage, "carts", via, *flags)
    assert done.returncode == 0, done.stderr
    method, arn = json.loads(done.stdout)
    assert (method, f"assumed-role/{LEGACY}carts/" in arn) == ("iam-role", True)


def test_another_pods_role_is_refused_and_the_reason_told(stage: DevPlane) -> None:
    """kube2iam's own words to the pod; the terminal of the plane says which pod asked, and for what."""
    path = f"/latest/meta-data/iam/security-credentials/{LEGACY}orders"
    ask = f'curl -s -w %{{http_code}} "$AWS_EC2_METADATA_SERVICE_ENDPOINT{path}"'
    done = stage.run_as("carts", "web", "--via", "kube2iam", "--role", f"{LEGACY}carts", "--", "sh", "-c", ask)
    assert done.stdout == f"Invalid role {LEGACY}orders\n403"
    wait_until(lambda: "kube2iam:credentials  other-role  carts/web-" in stage.output(), "the refusal on the screen")


def test_kiam_asks_the_namespace(stage: DevPlane) -> None:
    """Where nothing is permitted, an annotated pod has no credentials at all: not the node's either."""
    done = who(stage, "elsewhere", "kiam", "--role", f"{LEGACY}carts")
    assert "NoCredentialsError" in done.stderr
    listed = json.loads(stage.shell("rolecall", "namespace", "list", "-o", "json").stdout)["namespaces"]
    assert [one["name"] for one in listed] == ["carts"]


def test_the_metadata_service_ends_with_its_pod(stage: DevPlane) -> None:
    """Its listener is closed: whoever kept the address finds nobody there."""
    tell = 'echo "$AWS_EC2_METADATA_SERVICE_ENDPOINT"; echo "$NO_PROXY"'
    done = stage.run_as("carts", "web", "--via", "kube2iam", "--", "sh", "-c", tell)
    url, direct = done.stdout.splitlines()
    assert url.startswith("http://127.")
    assert url.removeprefix("http://").partition(":")[0] in direct.split(",")
    assert stage.shell("curl", "-s", f"{url}/latest/meta-data/instance-id").returncode == 7


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--role", "x"), "--via kube2iam"),
        (("--via", "irsa", "--annotation", "a=b"), "--via kube2iam or --via kiam"),
        (("--via", "kiam", "--annotation", "a"), "NAME=VALUE"),
        (("--via", "kiam", "--annotation", "-/=b"), "annotation key"),
    ],
)
def test_what_nobody_would_read_is_refused(stage: DevPlane, words: tuple[str, ...], told: str) -> None:
    """A flag without an effect would look as if it had one."""
    done = stage.run_as("carts", "web", *words, "--", "true")
    assert (done.returncode, told in done.stderr) == (125, True), done.stderr


# --- a network of its own, with the real addresses ---------------------------------------------------------

CAN_UNSHARE = os.geteuid() == 0 and subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0
needs_namespaces = pytest.mark.skipif(
    not CAN_UNSHARE, reason="network namespaces cannot be made here: it takes root (CAP_SYS_ADMIN)"
)


@needs_namespaces
@pytest.mark.parametrize(
    ("via", "flags", "method"),
    [
        (("--via", "kube2iam"), ("--role", f"{LEGACY}carts"), "iam-role"),
        (("--via", "host-role"), (), "iam-role"),
        ((), (), "container-role"),
    ],
    ids=["kube2iam", "host-role", "pod-identity"],
)
def test_in_its_own_network_the_doors_are_at_their_real_addresses(
    stage: DevPlane, via: tuple[str, ...], flags: tuple[str, ...], method: str
) -> None:
    """boto3 finds 169.254.169.254 by itself, and the agent is there as well; there is no other network."""
    look = 'env | grep ^AWS_EC2_METADATA_SERVICE_ENDPOINT; ip -j -o link; exec "$0" "$@"'
    command = ("sh", "-c", look, sys.executable, "-c", WHO)
    done = stage.run_as("demo-ns", "demo-sa", *via, *flags, "--own-network", "--", *command)
    assert done.returncode == 0, done.stderr
    links, told = done.stdout.strip().splitlines()
    assert [link["ifname"] for link in json.loads(links)] == ["lo"]
    assert json.loads(told)[0] == method


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

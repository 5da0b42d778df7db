"""Unmodified clients get the pod's credentials and nothing else, through Pod Identity and through IRSA."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable

import pytest

from integration.dev_plane import CARTS_ROLE, POD_ROLE, ROOT, DevPlane

EXAMPLES = ROOT / "examples" / "evolution"
CLIENTS = ROOT / "tests" / "integration" / "clients"
WAYS = {"pod-identity": ("demo-ns", "demo-sa", POD_ROLE, CARTS_ROLE), "irsa": ("carts", "carts", CARTS_ROLE, POD_ROLE)}
needs_node = pytest.mark.skipif(
    not (shutil.which("node") and (EXAMPLES / "js" / "node_modules").exists()), reason="needs node and its packages"
)


@pytest.mark.parametrize("way", WAYS)
def test_boto3(stage: DevPlane, way: str) -> None:
    """It is the role, reads its own role, and is denied the other one."""
    namespace, account, own, other = WAYS[way]
    done = stage.run_as(namespace, account, sys.executable, str(EXAMPLES / "whoami.py"), other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f":assumed-role/{own}/" in done.stdout
    assert {"pod-identity": "container-role", "irsa": "assume-role-with-web-identity"}[way] in done.stdout


@needs_node
@pytest.mark.node
@pytest.mark.parametrize("way", WAYS)
def test_javascript(stage: DevPlane, way: str) -> None:
    """The same with the SDK for JavaScript v3."""
    namespace, account, own, other = WAYS[way]
    done = stage.run_as(namespace, account, "node", str(EXAMPLES / "js" / "whoami.mjs"), other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f":assumed-role/{own}/" in done.stdout
    assert f"the role {other}: AccessDenied" in done.stdout


def test_awscrt(stage: DevPlane) -> None:
    """awscrt by the agent (its STS provider insists on TLS): the key is one of the pod's role."""
    done = stage.run_as("demo-ns", "demo-sa", sys.executable, str(CLIENTS / "whoami_crt.py"))
    assert done.returncode == 0, done.stderr
    shown = stage.shell("rolecall", "session", "describe", done.stdout.strip())
    assert f":assumed-role/{POD_ROLE}/eks-" in shown.stdout, shown.stderr


@pytest.mark.parametrize("way", WAYS)
def test_a_pod_may_not_make_access_keys(stage: DevPlane, way: str) -> None:
    """What would turn its session into a lasting key is denied, in AWS's words."""
    namespace, account, own, _ = WAYS[way]
    done = stage.run_as(namespace, account, "aws", "iam", "create-access-key", "--user-name", "admin")
    assert done.returncode != 0
    assert "AccessDenied" in done.stderr
    assert f":assumed-role/{own}/" in done.stderr
    assert "is not authorized to perform: iam:CreateAccessKey on resource: user admin" in done.stderr


def test_the_association_that_changes_changes_the_pod(stage: DevPlane) -> None:
    """Another role for the service account: the next pod has it. No association: the next pod is refused."""
    arn = stage.client("iam").get_role(RoleName=POD_ROLE)["Role"]["Arn"]
    trust = stage.client("iam").get_role(RoleName=POD_ROLE)["Role"]["AssumeRolePolicyDocument"]
    other = stage.client("iam").create_role(RoleName="moved", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    who = ("aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    word = ("-n", "moves", "-s", "moves")
    for verb, arn_now, role in (("create", arn, POD_ROLE), ("update", other, "moved")):
        assert stage.shell("rolecall", "association", verb, *word, "--role-arn", arn_now).returncode == 0
        assert f":assumed-role/{role}/" in stage.run_as("moves", "moves", *who).stdout
    assert stage.shell("rolecall", "association", "delete", *word).returncode == 0
    assert stage.run_as("moves", "moves", *who).returncode == 125


PROGRAMS: dict[str, Callable[[], tuple[str, ...]]] = {
    "boto3": lambda: (sys.executable, str(CLIENTS / "outlive.py")),
    "javascript": lambda: ("node", str(EXAMPLES / "js" / "outlive.mjs")),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", ["boto3", pytest.param("javascript", marks=[needs_node, pytest.mark.node])])
def test_a_program_outlives_its_token_and_its_session(short_lived: DevPlane, way: str, program: str) -> None:
    """Five keys of 6 s with tokens of 5 s: several rotations and expiries, and not one error on the way."""
    namespace, account, _, _ = WAYS[way]
    done = short_lived.run_as(namespace, account, *PROGRAMS[program](), "5", timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(set(done.stdout.split())) >= 5

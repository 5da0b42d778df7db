"""The commands of the text that Rolecall started from, by an unmodified AWS CLI, in the order in which it has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integration.dev_plane import ACCOUNT, CARTS_ROLE, CLUSTER, POD_ROLE, SETUP, DevPlane, role_arn


def test_the_text_can_be_followed(new_plane: Callable[..., DevPlane]) -> None:
    """From an empty plane and setup.sh to a program with its pod's role, word by word."""
    plane = new_plane().start()
    setup = plane.shell("bash", "-c", f'eval "$("{SETUP}")" && printf %s "$IAM_ROLE_ARN"')
    assert setup.stdout == role_arn(POD_ROLE), setup.stderr
    issuer = plane.aws("eks", "describe-cluster", "--name", CLUSTER, "--query", "cluster.identity")["oidc"]["issuer"]
    assert issuer.startswith(f"{plane.url}/id/")
    listed = plane.aws("iam", "list-open-id-connect-providers")["OpenIDConnectProviderList"]
    assert listed == [{"Arn": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer.removeprefix('http://')}"}]

    # The text has --query where the value of --policy-arn belongs; the AWS CLI reads it all the same.
    policy = plane.aws(
        "iam", "get-policy-version", "--version-id", "v1", "--policy-arn",
        "--query", "PolicyVersion.Document", f"arn:aws:iam::{ACCOUNT}:policy/{CARTS_ROLE}",
    )  # fmt: skip
    assert policy["Statement"][0]["Sid"] == "AllAPIActionsOnCart"
    trust = plane.aws("iam", "get-role", "--query", "Role.AssumeRolePolicyDocument", "--role-name", CARTS_ROLE)
    condition = trust["Statement"][0]["Condition"]["StringEquals"]
    assert condition[f"{issuer.removeprefix('http://')}:sub"] == "system:serviceaccount:carts:carts"

    addon = ("--cluster-name", CLUSTER, "--addon-name", "eks-pod-identity-agent")
    assert plane.aws("eks", "create-addon", *addon)["addon"]["status"] == "CREATING"
    plane.aws("eks", "wait", "addon-active", *addon)
    made = plane.aws(
        "eks", "create-pod-identity-association", "--cluster-name", CLUSTER,
        "--namespace", "demo-ns", "--service-account", "demo-sa", "--role-arn", role_arn(POD_ROLE),
    )["association"]  # fmt: skip
    assert made["associationId"].startswith("a-")
    done = plane.run_as("demo-ns", "demo-sa", "aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/{POD_ROLE}/eks-eks-pod-id-demo-sa-")


@pytest.mark.parametrize("via", ["pod-identity", "irsa"])
def test_the_admin_never_shines_through(stage: DevPlane, via: str) -> None:
    """From the sourced shell, with a default profile in HOME and admin keys in the environment: the pod's role."""
    aws = stage.home / ".aws"
    aws.mkdir(exist_ok=True)
    keys = stage.keys()
    (aws / "credentials").write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in keys.items()))
    (aws / "config").write_text("[default]\nregion = eu-central-1\n[profile rolecall]\nregion = eu-central-1\n")
    environment = stage.environment | {name.upper(): value for name, value in keys.items()}
    namespace, account, role = (
        ("demo-ns", "demo-sa", POD_ROLE) if via == "pod-identity" else ("carts", "carts", CARTS_ROLE)
    )
    words = ("--via", via, "--", "aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    done = stage.run_as(namespace, account, *words, env=environment)
    assert done.returncode == 0, done.stderr
    assert f":assumed-role/{role}/" in done.stdout
    admin = stage.shell("aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    assert admin.stdout.strip() == f"arn:aws:iam::{ACCOUNT}:user/admin", "the shell itself is the admin"


def test_setup_can_be_run_twice(stage: DevPlane) -> None:
    """What is there is kept, and the variables are printed again."""
    done = stage.shell(str(SETUP), "all")
    assert done.returncode == 0, done.stderr
    assert f"export IAM_ROLE_ARN={role_arn(POD_ROLE)}" in done.stdout.splitlines()

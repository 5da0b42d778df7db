"""The controller at a real API server, with our manifests and rights; STS is the identity plane."""

from __future__ import annotations

import base64
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import Object, Refused
from cluster.control_plane import ControlPlane
from integration.dev_plane import ACCOUNT, DevPlane, plain_environment, role_arn, wait_until

ROOT = Path(__file__).resolve().parents[2]
NAME, OURS, LIST = "kube-aws-iam-controller", "rolecall", "iam.amazonaws.com/allowed-roles"
BASE = f"arn:aws:iam::{ACCOUNT}:role/"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{OURS}/leases/{NAME}"
KEYS = {"role-arn", "expire", "credentials", "credentials.process", "credentials.json", "awsiamrole-generation"}


class ControllerProcess:
    """One replica, with the rights of our manifests."""

    def __init__(self, directory: Path, kubeconfig: Path, plane: DevPlane, name: str, *flags: str) -> None:
        self._out = directory / f"{name}.log"
        keys = {key.upper(): value for key, value in plane.keys().items()}
        env = plain_environment(directory) | keys | {"AWS_ENDPOINT_URL_STS": plane.url, "POD_NAME": name}
        command = [
            NAME, f"--kubeconfig={kubeconfig}", f"--base-role-arn={BASE}", "--region=us-west-2", "--port=0",
            f"--lease-namespace={OURS}", *flags,
        ]  # fmt: skip
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        lines = [json.loads(line) for line in self._out.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def log(self) -> str:
        """Return all that it said."""
        return self._out.read_text()

    def stop(self) -> int:
        """Stop it as a kubelet does; return its exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(30)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevPlane]:
    """An identity plane with two roles that the controller's role may assume, and one that it may not."""
    home = tmp_path_factory.mktemp("plane")
    plane = DevPlane(home / "state", home).start()
    us, ec2 = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, {"Service": "ec2.amazonaws.com"}
    for name, principal in (("controller", us), ("carts", us), ("web", us), ("locked", ec2)):
        who = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [who]})
        plane.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
    may = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": f"{BASE}*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    plane.client("iam").put_role_policy(RoleName="controller", PolicyName="assume", PolicyDocument=policy)
    yield plane
    assert plane.stop() == 0


@pytest.fixture(scope="module")
def kubeconfig(control_plane: ControlPlane) -> Path:
    """Our manifests, applied, without the workload; a kubeconfig with the controller's own token and rights."""
    control_plane.install(yaml.safe_load((ROOT / "deploy/crds/awsiamrole.yaml").read_text()))
    applied = control_plane.kubectl(
        "apply", "--server-side", "-k", str(ROOT / "deploy/kustomize/controller"), kubeconfig=control_plane.kubeconfig()
    )
    assert applied.returncode == 0, applied.stderr
    return control_plane.kubeconfig(f"{OURS}:{NAME}", token=control_plane.token(OURS, NAME))


@pytest.fixture(scope="module")
def controller(
    kubeconfig: Path, plane: DevPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControllerProcess]:
    """The one replica of most tests; it assumes its own role first."""
    directory = tmp_path_factory.mktemp("controller")
    process = ControllerProcess(directory, kubeconfig, plane, "one", "--assume-role=controller")
    yield process
    code, log = process.stop(), process.log()
    assert code == 0, log
    assert "crash" not in log
    assert not [line for line in log.splitlines() if "IQoJ" in line or "SecretAccessKey" in line]


@pytest.fixture
def shop(control_plane: ControlPlane, namespace: str, controller: ControllerProcess) -> Shop:
    """A namespace of its own."""
    return Shop(control_plane, namespace)


class Shop:
    """A namespace with AWSIAMRoles and their Secrets."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.admin, self.name = control_plane.admin, namespace
        self.roles = f"/apis/zalando.org/v1/namespaces/{namespace}/awsiamroles"
        self.secrets = f"/api/v1/namespaces/{namespace}/secrets"

    def ask(self, reference: str, name: str = "app", **meta: Any) -> Object:
        """Make an AWSIAMRole."""
        kind = {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole"}
        return self.admin.create(
            self.roles, {**kind, "metadata": {"name": name, **meta}, "spec": {"roleReference": reference}}
        )

    def secret(self, name: str = "app") -> dict[str, str]:
        """Return a Secret's data, once it is there."""
        return {key: base64.b64decode(value).decode() for key, value in self.raw(name)["data"].items()}

    def raw(self, name: str = "app") -> Object:
        """Return a Secret, once it is there."""
        wait_until(lambda: self.has(name), f"the Secret {name}")
        return self.admin.get(f"{self.secrets}/{name}")

    def has(self, name: str = "app") -> bool:
        """Whether there is such a Secret."""
        return self.admin.ask("GET", f"{self.secrets}/{name}")[0] == 200

    def ready(self, name: str = "app") -> Object:
        """Return its condition Ready, or nothing."""
        return next(iter(self.admin.get(f"{self.roles}/{name}").get("status", {}).get("conditions", [])), {})

    def said(self, reason: str) -> list[Object]:
        """Return the Events with a reason."""
        found = self.admin.get(f"/api/v1/namespaces/{self.name}/events")["items"]
        return [one for one in found if one["reason"] == reason]

    def permit(self, *patterns: str) -> None:
        """Say what this namespace may have."""
        change = {"metadata": {"annotations": {LIST: json.dumps(patterns)}}}
        self.admin.patch(f"/api/v1/namespaces/{self.name}", change)


# The rules of the original's ClusterRole (docs/rbac.yaml of its repository), with the group that it has now.
_VERBS = ["get", "list", "watch"]
ORIGINAL = (
    {
        "apiGroups": ["zalando.org"],
        "resources": ["awsiamroles", "awsiamroles/status"],
        "verbs": [*_VERBS, "update", "patch"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": _VERBS},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": [*_VERBS, "create", "update", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch", "update"]},
)


def test_it_takes_the_originals_place(
    control_plane: ControlPlane, namespace: str, kubeconfig: Path, plane: DevPlane, tmp_path: Path
) -> None:
    """With the original's rights and two flags more: what is held is left as it is until its time, what is new comes.
    With the Lease, which those rights do not have, nothing is done, and the log says what to grant."""
    rights = control_plane.allow(namespace, "default", *ORIGINAL)
    shop = Shop(control_plane, namespace)
    uid = shop.ask("carts", "old")["metadata"]["uid"]
    ends = (datetime.now(UTC) + timedelta(minutes=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = json.dumps({"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "t"})
    data = {
        "role-arn": role_arn("carts"), "expire": ends, "awsiamrole-generation": "1", "credentials": "[default]\n",
        "credentials.process": "[default]\n", "credentials.json": document,
    }  # fmt: skip
    owner = {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole", "name": "old", "uid": uid}
    meta = {"name": "old", "labels": {"heritage": NAME, "type": "awsiamrole"}, "ownerReferences": [owner]}
    before = shop.admin.create(shop.secrets, {"metadata": meta, "stringData": data})
    legacy = {"metadata": {"name": "aws-iam-carts", "labels": {"heritage": NAME}}, "stringData": {"expire": ends}}
    shop.admin.create(shop.secrets, legacy)
    shop.ask("web", "new")
    here = ("--namespace", namespace, "--namespace-restrictions=off")
    with_lease = ControllerProcess(tmp_path, rights, plane, "with-lease", *here)
    wait_until(lambda: with_lease.events("controller.lease_failing"), "why it does nothing")
    assert "grant it by a ClusterRole" in with_lease.events("controller.lease_failing")[0]["hint"]
    assert with_lease.stop() == 0, with_lease.log()
    assert not shop.has("new")
    process = ControllerProcess(tmp_path, rights, plane, "in-its-place", *here, "--leader-elect=false")
    try:
        assert shop.secret("new")["role-arn"] == role_arn("web")
        wait_until(lambda: shop.ready("old").get("status") == "True", "the old one to be ready")
        assert shop.raw("old") == before
        assert shop.has("aws-iam-carts")
        assert [line["name"] for line in process.events("controller.issued")] == ["new"]
    finally:
        assert process.stop() == 0, process.log()


def test_it_is_created(shop: Shop, plane: DevPlane, tmp_path: Path) -> None:
    """Keys, labels, owner, status and Event are the original's, and an unmodified boto3 reads the mounted files."""
    role = shop.ask("carts", labels={"team": "shop"})
    data, raw = shop.secret(), shop.raw()
    assert set(data) == KEYS
    assert data["role-arn"] == role_arn("carts")
    assert raw["metadata"]["labels"] == {"team": "shop", "heritage": NAME, "type": "awsiamrole"}
    owner = {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole", "name": "app", "uid": role["metadata"]["uid"]}
    assert raw["metadata"]["ownerReferences"] == [owner]
    wait_until(lambda: shop.ready().get("status") == "True", "the AWSIAMRole to be ready")
    status = shop.admin.get(f"{shop.roles}/app")["status"]
    assert (status["roleARN"], status["expiration"], status["observedGeneration"]) == (
        role_arn("carts"), data["expire"], 1,
    )  # fmt: skip
    wait_until(lambda: shop.said("CreateCredentials"), "the Event")
    event = shop.said("CreateCredentials")[0]
    ends = data["expire"].replace("T", " ").replace("Z", " +0000 UTC")
    assert event["message"] == f"Created credentials for role '{role_arn('carts')}', expiry time: {ends}"
    assert event["source"] == {"component": NAME}
    assert who_am_i(data, plane, tmp_path, "credentials.process").endswith(f":assumed-role/carts/{ACCOUNT}.carts")
    assert who_am_i(data, plane, tmp_path, "credentials").endswith(f":assumed-role/carts/{ACCOUNT}.carts")


def who_am_i(data: dict[str, str], plane: DevPlane, directory: Path, file: str) -> str:
    """Return who boto3 is with one of the Secret's files, mounted; the directory is another than a pod's."""
    mounted = directory / "meta"
    mounted.mkdir(exist_ok=True)
    for name, text in data.items():
        here = text.replace("/meta/aws-iam/", f"{shlex.quote(str(mounted))}/")
        (mounted / name).write_text(here)
    env = plain_environment(directory) | {
        "AWS_SHARED_CREDENTIALS_FILE": str(mounted / file), "AWS_ENDPOINT_URL": plane.url,
        "AWS_DEFAULT_REGION": "us-west-2", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    code = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def key_of(data: dict[str, str]) -> str:
    return str(json.loads(data.get("credentials.json", "{}")).get("AccessKeyId", ""))


def test_it_is_renewed(shop: Shop) -> None:
    """What is about to end, what somebody deleted, what somebody broke, and what asks for something else."""
    shop.ask("carts")
    keys = {"", key_of(shop.secret())}

    def renewed(what: str) -> dict[str, str]:
        wait_until(lambda: shop.has() and key_of(shop.secret()) not in keys, f"other credentials after {what}")
        keys.add(key_of(shop.secret()))
        return shop.secret()

    soon = (datetime.now(UTC) + timedelta(minutes=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    encoded = base64.b64encode(soon.encode()).decode()
    shop.admin.patch(f"{shop.secrets}/app", {"data": {"expire": encoded}})
    assert renewed("an end that is near")["expire"] > soon
    wait_until(lambda: shop.said("UpdateCredentials"), "the Event")
    shop.admin.delete(f"{shop.secrets}/app")
    renewed("the Secret's deletion")
    shop.admin.patch(f"{shop.secrets}/app", {"data": {"credentials.json": None}})
    renewed("the loss of a file")
    shop.admin.patch(f"{shop.roles}/app", {"spec": {"roleReference": role_arn("web")}})
    wait_until(lambda: shop.secret()["role-arn"] == role_arn("web"), "the other role's credentials")
    assert shop.secret()["awsiamrole-generation"] == "2"
    assert len(keys) == 5


def test_a_namespace_has_what_its_list_permits(shop: Shop) -> None:
    """Refused outside of it, given once it is listed, taken away once it is not any more."""
    shop.permit("web")
    shop.ask("carts")
    wait_until(lambda: shop.ready().get("reason") == "NamespaceForbids", "the refusal")
    assert not shop.has()
    assert shop.ready()["status"] == "False"
    wait_until(lambda: shop.said("RoleRefused"), "the Event")
    assert role_arn("carts") in shop.said("RoleRefused")[0]["message"]
    shop.permit("web", "car*")
    assert shop.secret()["role-arn"] == role_arn("carts")
    wait_until(lambda: shop.ready().get("status") == "True", "the AWSIAMRole to be ready")
    shop.permit("web")
    wait_until(lambda: not shop.has(), "the Secret to be taken away")
    wait_until(lambda: shop.ready().get("status") == "False", "the refusal")
    assert "roleARN" not in shop.admin.get(f"{shop.roles}/app")["status"]


def test_a_foreign_secret_is_left_alone(shop: Shop, controller: ControllerProcess) -> None:
    """A Secret of that name that is somebody else's stays as it is; STS is not even asked."""
    shop.admin.create(shop.secrets, {"metadata": {"name": "app"}, "stringData": {"password": "xyzzy"}})
    shop.ask("carts")
    wait_until(lambda: shop.ready().get("reason") == "ForeignSecret", "the refusal")
    assert shop.secret() == {"password": "xyzzy"}
    wait_until(lambda: shop.said("CreateSecretFailed"), "the Event")
    assert not [line for line in controller.events("controller.issued") if line["namespace"] == shop.name]
    # With our labels and nobody's, it is not ours either.
    shop.admin.patch(f"{shop.secrets}/app", {"metadata": {"labels": {"heritage": NAME, "type": "awsiamrole"}}})
    shop.admin.patch(f"{shop.roles}/app", {"spec": {"roleReference": "web"}})
    wait_until(lambda: shop.admin.get(f"{shop.roles}/app")["status"].get("observedGeneration") == 2, "another look")
    assert shop.secret() == {"password": "xyzzy"}


def test_the_rights_end_at_foreign_secrets(control_plane: ControlPlane, shop: Shop, kubeconfig: Path) -> None:
    """Whatever the program does, the API server lets this account write Secrets of AWSIAMRoles only."""
    api = control_plane.as_holder(control_plane.token(OURS, NAME))
    shop.admin.create(shop.secrets, {"metadata": {"name": "theirs"}, "stringData": {"password": "xyzzy"}})
    attempts: list[Callable[[], Any]] = [
        lambda: api.create(shop.secrets, {"metadata": {"name": "mine"}}),
        lambda: api.patch(f"{shop.secrets}/theirs", {"stringData": {"password": "changed"}}),
        lambda: api.delete(f"{shop.secrets}/theirs"),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="no Secret but those of AWSIAMRoles"):
            attempt()
    assert shop.secret("theirs") == {"password": "xyzzy"}


def test_a_role_that_cannot_be_had(shop: Shop) -> None:
    """STS's refusal is told in status and Event, once and not once for each try; mended, the Secret comes."""
    shop.ask("locked")
    wait_until(lambda: shop.said("GetCredentialsFailed"), "the Event")
    assert (
        "Failed to get credentials for role 'locked': AccessDenied" in shop.said("GetCredentialsFailed")[0]["message"]
    )
    assert shop.ready()["reason"] == "AccessDenied"
    shop.admin.patch(f"{shop.roles}/app", {"spec": {"roleReference": "carts"}})
    assert shop.secret()["role-arn"] == role_arn("carts")
    assert len(shop.said("GetCredentialsFailed")) == 1


def test_a_role_that_assumes_roles_gets_an_hour(shop: Shop) -> None:
    """A longer wish is shortened, and said, where STS would refuse it."""
    kind = {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole", "metadata": {"name": "app"}}
    shop.admin.create(shop.roles, {**kind, "spec": {"roleReference": "carts", "roleSessionDuration": 7200}})
    left = datetime.fromisoformat(shop.secret()["expire"]) - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)
    wait_until(lambda: shop.ready().get("status") == "True", "the AWSIAMRole to be ready")
    assert "shortened to 3600" in shop.ready()["message"]


def test_it_is_deleted(shop: Shop) -> None:
    """Without a garbage collector, which is not here, the Secret goes with its AWSIAMRole; and with a second one of
    that name comes another."""
    shop.ask("carts")
    first = shop.raw()["metadata"]["uid"]
    shop.admin.delete(f"{shop.roles}/app")
    wait_until(lambda: not shop.has(), "the Secret to be gone")
    shop.ask("web")
    assert shop.secret()["role-arn"] == role_arn("web")
    assert shop.raw()["metadata"]["uid"] != first


def test_a_bad_one_is_not_stored(shop: Shop) -> None:
    """The API server refuses what nothing could be issued for."""
    for spec in ({}, {"roleReference": "x"}, {"roleReference": "carts", "roleSessionDuration": 60}):
        with pytest.raises(Refused):
            shop.admin.create(
                shop.roles,
                {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole", "metadata": {"name": "x"}, "spec": spec},
            )


def test_the_leader_changes(
    control_plane: ControlPlane, shop: Shop, controller: ControllerProcess, kubeconfig: Path, plane: DevPlane,
    tmp_path: Path,
) -> None:  # fmt: skip
    """A second replica waits; the first is stopped, and gives the Lease up; the second is frozen, a third waits its
    time, and the second leads no more when it thaws. Each AWSIAMRole has its Secret, and none is made twice."""
    lease = control_plane.admin.get(LEASE)["spec"]
    assert lease["holderIdentity"].startswith("one_")
    assert lease["leaseDurationSeconds"] == 15
    two = ControllerProcess(tmp_path, kubeconfig, plane, "two")
    three = None
    try:
        shop.ask("carts", "a")
        shop.secret("a")
        assert not two.events("controller.issued")
        controller.process.terminate()
        assert controller.process.wait(30) == 0, controller.log()
        shop.ask("carts", "b")
        shop.secret("b")
        assert [line["name"] for line in two.events("controller.issued")] == ["b"]
        assert control_plane.admin.get(LEASE)["spec"]["leaseTransitions"] == lease["leaseTransitions"] + 1
        three = ControllerProcess(tmp_path, kubeconfig, plane, "three")
        two.process.send_signal(signal.SIGSTOP)
        shop.ask("carts", "c")
        shop.secret("c")
        two.process.send_signal(signal.SIGCONT)
        wait_until(lambda: two.events("controller.lost_the_lease"), "the second to know")
        shop.ask("carts", "d")
        shop.secret("d")
        assert [line["name"] for line in three.events("controller.issued")] == ["c", "d"]
        assert [line["name"] for line in two.events("controller.issued")] == ["b"]
        two.kill()
        assert three.stop() == 0, three.log()
        assert not control_plane.admin.get(LEASE)["spec"].get("holderIdentity")
    finally:
        for one in (two, three):
            if one is not None and one.process.poll() is None:
                one.kill()

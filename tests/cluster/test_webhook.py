"""The webhook behind a real API server: our manifests, its rights, its own certificate, and pods that come at once."""

from __future__ import annotations

import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Object, Refused
from cluster.control_plane import ControlPlane
from integration.dev_plane import ACCOUNT, DevPlane, role_arn, wait_until
from integration.webhook_process import WebhookProcess, kubeconfig
from rolecall.daemons.webhook.certificate.plan import Kept
from rolecall.daemons.webhook.certificate.wire import encode_secret
from rolecall.edges.certificates import make_pair

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pod-identity-webhook"
OURS, NAME, CLUSTER = "rolecall", "pod-identity-webhook", "races"
ROLE = role_arn("carts")
RACES, AT_ONCE = 1000, 8
WHERE = ("--namespace=rolecall", "--tls-self-managed", "--tls-name=127.0.0.1")
SECRETS = f"/api/v1/namespaces/{OURS}/secrets"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevPlane]:
    """An identity plane with the cluster and a role for its pods."""
    home = tmp_path_factory.mktemp("plane")
    plane = DevPlane(home / "state", home).start()
    iam, eks = plane.client("iam"), plane.client("eks")
    who = {"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}}
    trust = {"Version": "2012-10-17", "Statement": [{**who, "Action": ["sts:AssumeRole", "sts:TagSession"]}]}
    iam.create_role(RoleName="carts", AssumeRolePolicyDocument=json.dumps(trust))
    eks.create_cluster(name=CLUSTER, resourcesVpcConfig={}, roleArn=f"arn:aws:iam::{ACCOUNT}:role/cluster")
    yield plane
    assert plane.stop() == 0


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane) -> Iterator[Path]:
    """Our manifests, applied; a kubeconfig with the webhook's own token and rights."""
    admin = control_plane.kubeconfig()
    manifests = ROOT / "deploy" / "kustomize" / "webhook"
    applied = control_plane.kubectl("apply", "--server-side", "-k", str(manifests), kubeconfig=admin)
    assert applied.returncode == 0, applied.stderr
    token = control_plane.token(OURS, NAME)
    yield kubeconfig(
        control_plane.directory / "webhook.kubeconfig",
        control_plane.url,
        {"token": token},
        **{"certificate-authority": str(control_plane.ca_file)},
    )
    control_plane.admin.delete(CONFIGURATION)


@pytest.fixture(scope="module")
def webhook(
    control_plane: ControlPlane, installed: Path, plane: DevPlane, tmp_path_factory: Any
) -> Iterator[WebhookProcess]:
    """One replica, called at its address on loopback by both entries of our configuration."""
    keys = {name.upper(): value for name, value in plane.keys().items()}
    flags = ("--expiration-jitter=0", "--aws-default-region=us-west-2", "--sts-regional-endpoint")
    server = (f"--server={plane.url}", f"--cluster={CLUSTER}", "--region=us-west-2")
    directory = tmp_path_factory.mktemp("webhook")
    with WebhookProcess(directory, installed, *WHERE, *flags, *server, env=keys) as process:
        called_at(control_plane, process.url)
        process.ready()
        namespace = control_plane.namespace()
        wait_until(lambda: asked(control_plane, namespace), "the API server to ask the webhook")
        yield process


def called_at(control_plane: ControlPlane, url: str) -> None:
    """Have every entry of the configuration call a URL: there is no Service here."""
    for index, _ in enumerate(control_plane.admin.get(CONFIGURATION)["webhooks"]):
        change = [{"op": "replace", "path": f"/webhooks/{index}/clientConfig", "value": {"url": url}}]
        control_plane.admin.patch(CONFIGURATION, change, "json-patch")


_NUMBERS = itertools.count()


def asked(control_plane: ControlPlane, namespace: str) -> bool:
    """Whether a pod that must be asked about is refused for its role, and not for a webhook that cannot be called."""
    body = pod_of("default", f"probe-{next(_NUMBERS)}", required=True)
    try:
        control_plane.admin.create(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", body)
    except Refused as refused:
        return "rolecall: " in refused.message
    return False


def pod_of(account: str, name: str, *, required: bool = False) -> Object:
    labels = {"rolecall.dev/inject": "required"} if required else {}
    containers = [{"name": "main", "image": "example.invalid/image:1"}]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"serviceAccountName": account, "containers": containers},
    }


def variables(pod: Object) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["spec"]["containers"][0].get("env", [])}


def at_once(work: Callable[[int], bool], number: int = RACES) -> int:
    """Do it so often, some at a time; return how often it was so."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(work, range(number)))


# --- the text that this began with -----------------------------------------------------------------------


def test_the_example_of_irsa(control_plane: ControlPlane, webhook: WebhookProcess) -> None:
    """aws-node on the node's network: its service account and pod in, the pod of the text out."""
    namespace = control_plane.namespace("kube-system-of-the-text")
    role = "arn:aws:iam::123456789123:role/aws-eks-irsa-aws-node-irsa"
    control_plane.service_account(namespace, "aws-node", {"eks.amazonaws.com/role-arn": role})
    found = control_plane.pod(namespace, "aws-node-ghp8s", "aws-node", hostNetwork=True)
    mount = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
    assert found["spec"]["containers"][0]["env"] == [
        {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"},
        {"name": "AWS_DEFAULT_REGION", "value": "us-west-2"},
        {"name": "AWS_REGION", "value": "us-west-2"},
        {"name": "AWS_ROLE_ARN", "value": role},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": f"{mount}/token"},
    ]
    source = {"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}
    projected = {"defaultMode": 420, "sources": [{"serviceAccountToken": source}]}
    assert {"name": "aws-iam-token", "projected": projected} in found["spec"]["volumes"]
    mounted = {"name": "aws-iam-token", "mountPath": mount, "readOnly": True}
    assert mounted in found["spec"]["containers"][0]["volumeMounts"]
    assert (found["spec"]["serviceAccount"], found["spec"]["serviceAccountName"]) == ("aws-node", "aws-node")


def test_the_example_of_pod_identity(control_plane: ControlPlane, webhook: WebhookProcess, plane: DevPlane) -> None:
    """demo-pod of demo-sa, with its association; defaultMode is the API server's own."""
    namespace = control_plane.namespace("demo-ns")
    control_plane.service_account(namespace, "demo-sa")
    associate(plane, namespace, "demo-sa")
    containers = [{"name": "aws-cli", "image": "amazon/aws-cli:latest", "command": ["sleep", "36000"]}]
    found = control_plane.pod(namespace, "demo-pod", "demo-sa", containers=containers, restartPolicy="Never")
    (container,) = found["spec"]["containers"]
    mount = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    assert container["env"] == [
        {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"},
        {"name": "AWS_DEFAULT_REGION", "value": "us-west-2"},
        {"name": "AWS_REGION", "value": "us-west-2"},
        {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"},
        {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": f"{mount}/eks-pod-identity-token"},
    ]
    assert {"mountPath": mount, "name": "eks-pod-identity-token", "readOnly": True} in container["volumeMounts"]
    source = {"audience": "pods.eks.amazonaws.com", "expirationSeconds": 86400, "path": "eks-pod-identity-token"}
    projected = {"defaultMode": 420, "sources": [{"serviceAccountToken": source}]}
    assert {"name": "eks-pod-identity-token", "projected": projected} in found["spec"]["volumes"]
    assert (container["image"], container["command"]) == ("amazon/aws-cli:latest", ["sleep", "36000"])


# --- in the same second ----------------------------------------------------------------------------------


def associate(plane: DevPlane, namespace: str, name: str) -> None:
    plane.client("eks").create_pod_identity_association(
        clusterName=CLUSTER, namespace=namespace, serviceAccount=name, roleArn=ROLE
    )


@pytest.mark.timeout(300)
def test_a_pod_right_after_its_annotation(control_plane: ControlPlane, webhook: WebhookProcess) -> None:
    """A thousand times: half of the accounts are new, half have been there without a role."""
    namespace, admin = control_plane.namespace("races"), control_plane.admin
    there = [control_plane.service_account(namespace, f"old-{number}") for number in range(RACES // 2)]
    notes = {"eks.amazonaws.com/role-arn": ROLE}

    def race(number: int) -> bool:
        if number < len(there):
            name = f"old-{number}"
            admin.patch(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}", {"metadata": {"annotations": notes}})
        else:
            name = f"new-{number}"
            control_plane.service_account(namespace, name, notes)
        pod = admin.create(f"/api/v1/namespaces/{namespace}/pods", pod_of(name, name))
        return variables(pod).get("AWS_ROLE_ARN") == ROLE

    assert at_once(race) == RACES
    asked_for(webhook, "service-accounts")


@pytest.mark.timeout(300)
def test_a_pod_right_after_its_association(
    control_plane: ControlPlane, webhook: WebhookProcess, plane: DevPlane
) -> None:
    """A thousand associations, each made and followed by its pod at once."""
    namespace, admin = control_plane.namespace("associated"), control_plane.admin
    clients = threading.local()
    for number in range(RACES):
        control_plane.service_account(namespace, f"sa-{number}")

    def race(number: int) -> bool:
        if not hasattr(clients, "eks"):
            clients.eks = plane.client("eks")
        name = f"sa-{number}"
        clients.eks.create_pod_identity_association(
            clusterName=CLUSTER, namespace=namespace, serviceAccount=name, roleArn=ROLE
        )
        pod = admin.create(f"/api/v1/namespaces/{namespace}/pods", pod_of(name, name))
        return "AWS_CONTAINER_CREDENTIALS_FULL_URI" in variables(pod)

    assert at_once(race) == RACES
    asked_for(webhook, "associations")


def asked_for(webhook: WebhookProcess, source: str) -> None:
    """The source was behind now and then and had to be asked, or nothing was tested."""
    lines = webhook.view("/metrics")[1].splitlines()
    answered = f'rolecall_webhook_look_ups_total{{source="{source}",outcome="answered"}} '
    assert sum(int(line.removeprefix(answered)) for line in lines if line.startswith(answered)) > 10, lines


# --- what an operator relies on --------------------------------------------------------------------------


def test_the_webhooks_own_pods_may_run_in_its_namespace(control_plane: ControlPlane, installed: Path) -> None:
    """Its namespace enforces the strictest standard, which the Deployment itself is not held against: its pods are."""
    template = control_plane.admin.get(f"/apis/apps/v1/namespaces/{OURS}/deployments/{NAME}")["spec"]["template"]
    template["metadata"]["name"] = "one"
    pods = f"/api/v1/namespaces/{OURS}/pods?dryRun=All"
    control_plane.admin.create(pods, template)
    del template["spec"]["containers"][0]["securityContext"]
    with pytest.raises(Refused, match="violates PodSecurity"):
        control_plane.admin.create(pods, template)


def test_who_must_not_start_without_a_role(control_plane: ControlPlane, webhook: WebhookProcess) -> None:
    namespace = control_plane.namespace()
    with pytest.raises(Refused, match="rolecall: neither"):
        control_plane.admin.create(f"/api/v1/namespaces/{namespace}/pods", pod_of("default", "p", required=True))
    control_plane.admin.create(f"/api/v1/namespaces/{namespace}/pods", pod_of("default", "p"))


def test_the_reason_is_in_the_audit_log(control_plane: ControlPlane, webhook: WebhookProcess) -> None:
    namespace = control_plane.namespace()
    control_plane.pod(namespace, "plain")
    key = "pods.rolecall.dev/reason"

    def written() -> bool:
        events = [one for one in control_plane.audited() if one.get("objectRef", {}).get("namespace") == namespace]
        return any(one.get("annotations", {}).get(key) == "neither" for one in events)

    wait_until(written, "the reason in the audit log")


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("webhook")  # whom the other entries call: an API server asks all that are meant
def test_a_certificate_is_rotated_under_load(control_plane: ControlPlane, installed: Path, tmp_path: Path) -> None:
    """A replica finds a certificate that has lived for more than two thirds of its life. Pods that must be reviewed are
    created all the while by more threads than the API server keeps connections for, and none is refused."""
    admin, namespace = control_plane.admin, control_plane.namespace("rotation")
    control_plane.service_account(namespace, "carts", {"eks.amazonaws.com/role-arn": ROLE})
    names = (NAME, f"{NAME}.{OURS}", f"{NAME}.{OURS}.svc", f"{NAME}.{OURS}.svc.cluster.local", "127.0.0.1")
    pair = make_pair(names, time.time() - 70 * 86_400)
    admin.create(SECRETS, json.loads(encode_secret(Kept(pair), OURS, "rotating")))
    flags = ("--tls-secret=rotating", "--webhook-config=rotating", "--tls-overlap=8s")
    with WebhookProcess(tmp_path, control_plane.kubeconfig(), *WHERE, *flags) as webhook:
        wait_until(lambda: webhook.view("/readyz")[0], "the webhook")
        admin.create(CONFIGURATION.rpartition("/")[0], only_of(admin.get(CONFIGURATION), namespace, webhook.url))
        try:
            webhook.ready()
            wait_until(lambda: required(control_plane, namespace) is None, "the API server to ask the webhook")
            first = shown_by(webhook)
            failed = loaded(control_plane, namespace, lambda: shown_by(webhook) != first)
        finally:
            admin.delete(f"{CONFIGURATION.rpartition('/')[0]}/rotating")
        assert failed == [], failed[:3]
        assert len(webhook.events("review.answered")) > 100
        told = ("certificate.kept", "certificate.shown", "certificate.spread")  # a first look finds no configuration
        events = [line["event"] for line in webhook.lines if line["event"] in told]
        assert events[:3] == [*told], "the former one, spread"
        last = len(events) - events[::-1].index("certificate.shown")
        assert "certificate.spread" in events[: last - 1], "the next one was believed before it was shown"


def only_of(configuration: Object, namespace: str, url: str) -> Object:
    """Return the entry for pods that must be reviewed, for one namespace and at a URL."""
    entry = next(one for one in configuration["webhooks"] if one["failurePolicy"] == "Fail")
    here = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [namespace]}
    entry |= {"name": "rotating.rolecall.dev", "clientConfig": {"url": url}}
    entry["namespaceSelector"] = {"matchExpressions": [here]}
    return {"metadata": {"name": "rotating"}, "webhooks": [entry]}


def required(control_plane: ControlPlane, namespace: str) -> str | None:
    """Create a pod that must be reviewed, on trial; return what went wrong."""
    body = pod_of("carts", f"p-{next(_NUMBERS)}", required=True)
    try:
        found = control_plane.admin.create(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", body)
    except Refused as refused:
        return refused.message
    return None if variables(found).get("AWS_ROLE_ARN") == ROLE else "it was not injected"


def loaded(control_plane: ControlPlane, namespace: str, until: Callable[[], bool]) -> list[str]:
    """Create pods with eight threads until it is so, and for two seconds more; return what went wrong."""
    stop, failed = threading.Event(), list[str]()

    def create() -> None:
        while not stop.is_set():
            fault = required(control_plane, namespace)
            if fault is not None:
                failed.append(fault)

    threads = [threading.Thread(target=create) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        wait_until(until, "the next certificate", 60)
        time.sleep(2.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return failed


def shown_by(webhook: WebhookProcess) -> str:
    """Return the certificate that whoever connects now is shown."""
    return ssl.get_server_certificate(("127.0.0.1", webhook.port))

"""A real API server's tokens, reviews and admission are what our code takes them for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.api import Object, Refused
from cluster.control_plane import ControlPlane
from cluster.review_server import registered, serving
from integration.dev_plane import wait_until
from rolecall.core.tokens.jws import NotBelieved
from rolecall.core.tokens.keys import parse_jwks
from rolecall.core.tokens.verify import STS_ALGORITHMS, DoorRules, verify
from rolecall.edges.clock import SystemClock
from rolecall.edges.oidc_keys import OidcKeys

EKS = "pods.eks.amazonaws.com"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
def pod(control_plane: ControlPlane, namespace: str) -> Object:
    """A pod of a service account, bound to a node."""
    control_plane.service_account(namespace, "carts")
    node = control_plane.node(f"node-of-{namespace}")
    return control_plane.pod(namespace, "carts-0", "carts", nodeName=node["metadata"]["name"])


def test_a_pods_token_passes_every_step_of_our_verification(control_plane: ControlPlane, pod: Object) -> None:
    """Issuer, subject, audience, times, pod and node are read from it as the API server's own objects say."""
    namespace, node = pod["metadata"]["namespace"], pod["spec"]["nodeName"]
    token = control_plane.token(namespace, "carts", EKS, pod=pod, seconds=86400)
    rules = DoorRules(STS_ALGORITHMS, 0, control_plane.issuer, frozenset({EKS}), True, require_pod=True, node=node)
    keys = OidcKeys(clock=SystemClock(), ca_file=str(control_plane.ca_file))
    keyset = asyncio.run(keys.keyset(control_plane.issuer))

    claims = verify(token, keys=keyset, rules=rules, now=time.time() + 1)

    admin = control_plane.admin
    account = admin.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/carts")
    uids = [one["metadata"]["uid"] for one in (account, pod, admin.get(f"/api/v1/nodes/{node}"))]
    found = claims.kubernetes
    assert found is not None
    assert (claims.subject, claims.audience) == (f"system:serviceaccount:{namespace}:carts", EKS)
    assert (found.namespace, found.service_account) == (namespace, "carts")
    assert (found.pod_name, found.node_name) == ("carts-0", node)
    assert [found.service_account_uid, found.pod_uid, found.node_uid] == uids
    assert claims.expires_at - claims.issued_at == 86400
    assert claims.unknown == ()


def test_a_token_for_the_api_server_itself_is_refused(control_plane: ControlPlane, pod: Object) -> None:
    """What a pod has without asking, an audience of the API server, opens no door of ours."""
    token = control_plane.token(pod["metadata"]["namespace"], "carts", pod=pod)
    rules = DoorRules(STS_ALGORITHMS, 0, control_plane.issuer, frozenset({EKS}), True)
    _, text = control_plane.as_holder(None).ask("GET", "/openid/v1/jwks")
    with pytest.raises(NotBelieved) as refused:
        verify(token, keys=parse_jwks(text), rules=rules, now=time.time() + 1)
    assert refused.value.reason == "wrong-audience"


def test_token_review_agrees(control_plane: ControlPlane, pod: Object) -> None:
    """TokenReview knows the token by its audience, with pod and node, and not by another or after its pod is gone."""
    namespace = pod["metadata"]["namespace"]
    token = control_plane.token(namespace, "carts", EKS, pod=pod)

    def reviewed(audience: str) -> Object:
        spec = {"token": token, "audiences": [audience]}
        return control_plane.admin.create(REVIEWS, {"spec": spec})["status"]

    status = reviewed(EKS)
    assert status["authenticated"]
    assert status["user"]["username"] == f"system:serviceaccount:{namespace}:carts"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]
    assert status["user"]["extra"]["authentication.kubernetes.io/node-name"] == [pod["spec"]["nodeName"]]
    assert not reviewed("sts.amazonaws.com").get("authenticated")
    control_plane.admin.delete(f"/api/v1/namespaces/{namespace}/pods/carts-0")
    # The API server holds what it found of a token for ten seconds.
    wait_until(lambda: not reviewed(EKS).get("authenticated"), "the token to die with its pod")


def test_a_webhook_of_the_test_changes_pods(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """It is called for the pods of its namespaces, for no others, and the audit log says so."""
    asked: list[Object] = []

    def review(request: Object) -> list[Object]:
        asked.append(request)
        return [{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]

    with serving(review, tmp_path) as (url, authority), registered(control_plane, url, authority, namespace):
        asked.clear()
        made = control_plane.pod(namespace, "seen")
        assert [request["name"] for request in asked] == ["seen"]
        assert asked[0]["object"]["spec"]["serviceAccountName"] == "default"
        assert made["metadata"]["labels"] == {"seen": "yes"}
        assert "labels" not in control_plane.pod(control_plane.namespace(), "unseen")["metadata"]


def test_a_webhook_that_cannot_be_believed_is_not_asked(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """With another authority's caBundle and failurePolicy Fail no pod is made: the registration is really in use."""
    with (
        serving(lambda _: [], tmp_path) as (url, _),
        registered(control_plane, url, control_plane.authority.certificate, namespace),
        pytest.raises(Refused, match="certificate signed by unknown authority"),
    ):
        control_plane.pod(namespace, "refused")


def test_a_service_account_may_do_what_it_is_allowed(control_plane: ControlPlane, namespace: str) -> None:
    """Its kubeconfig works with kubectl, and for nothing more."""
    control_plane.service_account(namespace, "reader")
    rules = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"]}
    kubeconfig = control_plane.allow(namespace, "reader", rules)
    listed = control_plane.kubectl("get", "serviceaccounts", "-n", namespace, "-o", "name", kubeconfig=kubeconfig)
    assert listed.stdout.split() == ["serviceaccount/default", "serviceaccount/reader"], listed.stderr
    refused = control_plane.kubectl("get", "secrets", "-n", namespace, kubeconfig=kubeconfig)
    assert "forbidden" in refused.stderr


def test_custom_resources(control_plane: ControlPlane, namespace: str) -> None:
    """A definition can be installed, and its objects be made at once."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "probes", "singular": "probe", "kind": "Probe"}
    spec = {"group": "test.rolecall.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    control_plane.install({"metadata": {"name": "probes.test.rolecall.dev"}, "spec": spec})
    kind = {"apiVersion": "test.rolecall.dev/v1", "kind": "Probe"}
    made = kind | {"metadata": {"name": "one"}, "spec": {"a": 1}}
    stored = control_plane.admin.create(f"/apis/test.rolecall.dev/v1/namespaces/{namespace}/probes", made)
    assert stored["spec"] == {"a": 1}


def test_a_killed_run_leaves_nothing(assets: Path, tmp_path: Path) -> None:
    """The programs of a test run that ends by SIGKILL end with it."""
    script = (
        "import os, signal, sys; from pathlib import Path; from cluster.control_plane import ControlPlane\n"
        "plane = ControlPlane(Path(sys.argv[1]), Path(sys.argv[2])).start()\n"
        "print(*(process.pid for process in plane._processes.values()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", script, str(assets), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    wait_until(lambda: not any(_runs(pid) for pid in pids), "etcd and kube-apiserver to end")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False

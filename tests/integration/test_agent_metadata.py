"""The metadata door as a process: pods at loopback addresses, an API server, an STS and a node's service behind it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.dev_plane import DevPlane, plain_environment, role_arn, wait_until
from integration.imds_server import instance
from integration.test_agent_pods import PODS, A, B, Cluster, cluster
from integration.test_agent_process import AgentProcess, agent, free_port, get

__all__ = ["cluster"]
ROLES = "/latest/meta-data/iam/security-credentials/"
BASE = role_arn("")
HERE = ("--imds-bind-hosts", "127.0.0.1", "--imds-port", "0")
KUBE2IAM = "import sys; from rolecall.daemons.agent.metadata.kube2iam import main; sys.exit(main())"
OFF = ("--probe-port", "0", "--metrics-port", "0")
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    ],
}


def ask(door: str, path: str, address: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Return status and body of what whoever is at this address is answered."""
    host, _, port = door.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20, source_address=(address, 0))
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_deny_alone(tmp_path: Path) -> None:
    """No cluster, no region, no credentials: it serves, gives nobody a role, and passes the node's region on."""
    with instance() as node:
        env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": node.url}
        with agent(tmp_path, *HERE, *OFF, "--dialect", "deny", env=env) as started:
            door = started.door()
            assert ask(door, ROLES, A)[0] == 404
            assert ask(door, "/latest/user-data", A)[0] == 404
            assert ask(door, "/latest/meta-data/placement/region", A) == (200, b"us-west-2")
            assert {path for _, path in node.asked} == {"/latest/api/token", "/latest/meta-data/placement/region"}


@pytest.fixture(scope="module")
def roles(stage: DevPlane) -> list[str]:
    """Two roles of the plane that its account's own users may assume."""
    iam = stage.client("iam")
    names = ["metadata-reader", "metadata-writer"]
    for name in names:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    return names


@contextmanager
def door(home: Path, plane: DevPlane, cluster: Cluster, *flags: str) -> Iterator[tuple[AgentProcess, str, str]]:
    """Run an agent for the cluster's pods whose STS is the plane's; yield it, its metadata door and its probes."""
    probes = free_port()
    env = {
        **{name.upper(): key for name, key in plane.keys().items()},
        "AWS_REGION": "us-west-2",
        "AWS_ENDPOINT_URL_STS": plane.url,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": plane.imds_url,
    }
    words = (*HERE, "--probe-port", str(probes), "--metrics-port", "0", "--node-name", "here")
    words += ("--kubeconfig", str(cluster.kubeconfig), "--dialect", "kube2iam", "--base-role-arn", BASE)
    with agent(home, *words, *flags, env=env) as started:
        yield started, started.door(), f"127.0.0.1:{probes}"


def annotated(cluster: Cluster, name: str, address: str, role: str) -> None:
    """Run a pod with a role, or change it."""
    meta = {"uid": f"uid-{name}", "namespace": "default", "annotations": {"iam.amazonaws.com/role": role}}
    spec, status = {"nodeName": "here"}, {"phase": "Running", "podIPs": [{"ip": address}]}
    cluster.change(lambda: cluster.api.put(PODS, name, metadata=meta, spec=spec, status=status))


def test_pods_get_their_annotated_roles(stage: DevPlane, roles: list[str], cluster: Cluster, tmp_path: Path) -> None:
    """With tokens; each pod its own role, another one is 403; what was the pod before is no longer believed."""
    reader, writer = roles
    annotated(cluster, "a", A, reader)
    annotated(cluster, "b", B, writer)
    with door(tmp_path, stage, cluster, "--imds-version", "required") as (started, imds, probes):
        wait_until(lambda: get(probes, "/readyz")[0] == 200, "the pods to be known")
        for address, role in ((A, reader), (B, writer)):
            status, shown = ask(imds, "/latest/api/token", address, "PUT", x_aws_ec2_metadata_token_ttl_seconds="60")
            token = {"x_aws_ec2_metadata_token": shown.decode()}
            assert (status, ask(imds, ROLES, address)[0]) == (200, 401)
            assert ask(imds, ROLES, address, **token) == (200, role.encode())
            status, body = ask(imds, ROLES + role, address, **token)
            assert (status, who(stage, body)) == (200, role)
            other = writer if role == reader else reader
            assert ask(imds, ROLES + other, address, **token)[0] == 403
        issued = started.event("imds.issued")
        assert (issued["pod"], issued["pod_uid"], issued["role"]) == ("a", "uid-a", role_arn(reader))
        with ThreadPoolExecutor(1) as pool:  # a pod that is quicker than its event
            late = pool.submit(ask, imds, ROLES, "127.0.0.4")
            time.sleep(0.1)  # the agent waits 0.9 seconds for it
            annotated(cluster, "late", "127.0.0.4", reader)
            assert late.result()[0] == 401  # known, and to show a token: it is not 404
        cluster.change(lambda: cluster.api.drop(PODS, "a"))
        annotated(cluster, "c", A, writer)
        wait_until(lambda: ask(imds, ROLES, A)[0] == 401, "the new pod")
        assert ask(imds, ROLES + reader, A, **token)[0] == 401


def who(plane: DevPlane, document: bytes) -> str:
    """Return the role that STS finds these credentials to be of."""
    found = json.loads(document)
    keys = {"aws_access_key_id": found["AccessKeyId"], "aws_secret_access_key": found["SecretAccessKey"]}
    sts = plane.client("sts", aws_session_token=found["Token"], **keys)
    return str(sts.get_caller_identity()["Arn"].split("/")[1])


def test_botocore_finds_its_role(stage: DevPlane, roles: list[str], cluster: Cluster, tmp_path: Path) -> None:
    """By nothing but the service's address; a late pod is waited for, and one without a role finds no credentials."""
    annotated(cluster, "own", "127.0.0.1", roles[0])
    with door(tmp_path, stage, cluster) as (_, imds, _probes):
        script = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
        env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{imds}", "AWS_ENDPOINT_URL": stage.url}
        env |= {"AWS_DEFAULT_REGION": "us-west-2", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
        done = stage.shell(sys.executable, "-c", script, env=plain_environment(tmp_path) | env)
        assert f":assumed-role/{roles[0]}/" in done.stdout, done.stderr


def test_kube2iams_own_command(stage: DevPlane, roles: list[str], cluster: Cluster, tmp_path: Path) -> None:
    """By its flags: base and default role are found by the node's service; probes and debuggers are answered."""
    cluster.change(lambda: cluster.api.put(PODS, "plain", metadata={"uid": "u", "namespace": "default"},
        spec={"nodeName": "here"}, status={"phase": "Running", "podIPs": [{"ip": A}]}))  # fmt: skip
    metrics, imds = free_port(), f"127.0.0.1:{free_port()}"
    words = ["--auto-discover-default-role", "--kubeconfig", str(cluster.kubeconfig), "--node", "here", "--debug"]
    words += ["--app-port", imds.partition(":")[2], "--host-ip=127.0.0.1", "--metrics-port", str(metrics)]
    env = {"AWS_REGION": "us-west-2", "AWS_EC2_METADATA_SERVICE_ENDPOINT": stage.imds_url}
    with subprocess.Popen(
        [sys.executable, "-c", KUBE2IAM, *words],
        env=plain_environment(tmp_path) | env,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            wait_until(lambda: ask_or_none(imds, ROLES, A) == (200, b"rolecall-node"), "the default role")
            status, body = ask(imds, "/healthz", "127.0.0.9")
            assert (status, json.loads(body)["hostIP"]) == (200, "127.0.0.1")
            admin = f"127.0.0.1:{metrics}"
            assert json.loads(get(admin, "/debug/store")[1])["rolesByIP"] == {A: ""}
            assert b'rolecall_imds_open{setting="default-node-role"} 1' in get(admin, "/metrics")[1]
            assert ask(imds, "/debug/store", A)[0] == ask(imds, "/metrics", A)[0] == 404
        finally:
            running.terminate()
            assert running.stderr is not None
            said = running.stderr.read()
    assert running.returncode == 0
    assert "event=imds.default_is_the_nodes_role" in said
    assert "event=imds.no_namespace_restrictions" in said


def ask_or_none(door: str, path: str, address: str) -> tuple[int, bytes] | None:
    """Return what `ask` does; None where nobody listens yet."""
    try:
        return ask(door, path, address)
    except OSError:
        return None


def test_the_nodes_own_role_only_by_name(stage: DevPlane, tmp_path: Path) -> None:
    """Whoever asks is the node, as EC2 has it; it is warned of; user data stays where it is; a token is not needed."""
    env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": stage.imds_url}
    with agent(tmp_path, *HERE, *OFF, "--dialect", "host-role", env=env) as started:
        assert "any of them is the node" in str(started.event("imds.host_role")["why"])
        imds = started.door()
        assert ask(imds, ROLES, A) == (200, b"rolecall-node")
        status, body = ask(imds, ROLES + "rolecall-node", B)
        assert (status, who(stage, body)) == (200, "rolecall-node")
        assert ask(imds, ROLES + "other", A)[0] == 404
        assert ask(imds, "/latest/user-data", A)[0] == 404
        assert b"assumed-role/rolecall-node/i-" in ask(imds, "/latest/meta-data/iam/info", A)[1]


CORPUS = sorted((Path(__file__).parents[1] / "corpus" / "metadata-regression").glob("*.json"))
LISTING = b"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: 169.254.169.254\r\n"
# What a parser may read in two ways, or a proxy pass on (legacy-proxies.md §9.2).
BEHIND = b"GET /latest/user-data HTTP/1.1\r\n\r\n"
PUT = b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n"
CHUNKS = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
MESSAGES = {
    "length and chunks": LISTING + CHUNKS + BEHIND,
    "two lengths": LISTING + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\n",
    "upgrade": LISTING + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a token with a body": PUT + b"Content-Length: %d\r\n\r\n" % len(BEHIND) + BEHIND + LISTING + b"\r\n",
    "two hosts": LISTING + b"Host: evil\r\n\r\n",
}


def raw(door: str, message: bytes, address: str) -> bytes:
    """Send bytes as they are, end, and return all that comes back."""
    host, _, port = door.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20, source_address=(address, 0)) as connection:
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def spelled(case: dict[str, Any]) -> bytes:
    """Return a case of the corpus as bytes on the wire."""
    head = [f"{case['request']['method']} {case['request']['target']} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in case["request"]["headers"]]
    return "\r\n".join([*head, "", ""]).encode()


@pytest.mark.parametrize("dialect", ["kube2iam", "kiam"])
def test_what_fooled_the_older_proxies_stays_here(dialect: str, cluster: Cluster, tmp_path: Path) -> None:
    """On the wire: nothing but tokens and documents of the list is asked of the node; its keys come out nowhere."""
    annotated(cluster, "mine", A, "mine")
    permits = {"annotations": {"iam.amazonaws.com/permitted": ".*"}}
    cluster.change(lambda: cluster.api.put("/api/v1/namespaces", "default", metadata=permits))
    with instance() as node:
        node.issue("ASIANODESOWNKEY", expires="2099-01-01T00:00:00Z")
        env = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
        env |= {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9", "AWS_EC2_METADATA_SERVICE_ENDPOINT": node.url}
        words = (*HERE, *OFF, "--dialect", dialect, "--base-role-arn", BASE, "--node-name", "here")
        words += ("--kubeconfig", str(cluster.kubeconfig), "--allow-route-regexp", ".*")
        with agent(tmp_path, *words, env=env) as started:
            imds = started.door()
            assert ask(imds, "/latest/meta-data/placement/region", A) == (200, b"us-west-2")
            answers = [raw(imds, spelled(json.loads(path.read_text())), A) for path in CORPUS]
            answers += [raw(imds, message, A) for message in MESSAGES.values()]
            with ThreadPoolExecutor(16) as pool:  # whom nobody knows is waited for
                answers += pool.map(lambda path: raw(imds, spelled(json.loads(path.read_text())), B), CORPUS)
        assert len(answers) > 80
        assert not [answer for answer in answers if b"ASIANODE" in answer or b"AccessKeyId" in answer]
        asked = {path for _, path in node.asked}
        assert not {path for path in asked if "iam" in path or "user-data" in path or "public-keys" in path}, asked


MINTTL = 21
"""IP_MINTTL (ip(7)): what arrives with less left to live is dropped, as it would be one router further away."""


@pytest.mark.parametrize(
    ("hops", "farther", "arrives"), [("1", 1, True), ("1", 2, False), ("2", 2, True), ("2", 3, False)]
)
def test_a_token_goes_no_further_than_its_hops(hops: str, farther: int, arrives: bool, tmp_path: Path) -> None:
    """The reply to PUT, and what follows on its connection; everything else does."""
    with agent(tmp_path, *HERE, *OFF, "--dialect", "deny", "--imds-hop-limit", hops, env={}) as started:
        host, _, port = started.door().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_IP, MINTTL, farther)
            connection.sendall(LISTING + b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 404")
            connection.settimeout(20 if arrives else 0.5)
            connection.sendall(PUT + b"Content-Length: 0\r\n\r\n")
            try:
                got = connection.recv(65536)
            except TimeoutError:
                got = b""
            assert got[:12] == (b"HTTP/1.1 200" if arrives else b"")

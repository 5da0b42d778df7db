"""An agent that gets its own credentials from IMDS, STS or another agent, and asks EKS Auth with them."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from integration.dev_plane import ACCOUNT, CLUSTER, DevPlane, role_arn, wait_until
from integration.edges.loopback import certify
from integration.imds_server import ROLES, TOKEN_PATH, Instance, instance
from integration.test_agent_process import HERE, TOKEN, AgentProcess, agent, get, pod_token

NODE = ("kube-system", "rolecall-agent")
ENV = {"AWS_REGION": "us-west-2"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIANODE", "AWS_SECRET_ACCESS_KEY": "x"}
Environment = dict[str, str]


@pytest.fixture(scope="module")
def plane(stage: DevPlane) -> DevPlane:
    """The plane, with a role for nodes: for the agent's own service account, by web identity and by association."""
    iam, eks = stage.client("iam"), stage.client("eks")
    host = eks.describe_cluster(name=CLUSTER)["cluster"]["identity"]["oidc"]["issuer"].partition("://")[2]
    trusted = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"}
    is_agent = {"StringEquals": {f"{host}:sub": ":".join(("system:serviceaccount", *NODE))}}
    pods = {"Service": "pods.eks.amazonaws.com"}
    trust = [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"},
        {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": is_agent},
        {"Effect": "Allow", "Principal": pods, "Action": ["sts:AssumeRole", "sts:TagSession"]},
    ]
    may = [{"Effect": "Allow", "Action": "eks-auth:AssumeRoleForPodIdentity", "Resource": "*"}]
    iam.create_role(RoleName="node", AssumeRolePolicyDocument=document(trust))
    iam.put_role_policy(RoleName="node", PolicyName="p", PolicyDocument=document(may))
    eks.create_pod_identity_association(
        clusterName=CLUSTER, namespace=NODE[0], serviceAccount=NODE[1], roleArn=role_arn("node")
    )
    return stage


def document(statements: list[dict[str, object]]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture
def ec2() -> Iterator[Instance]:
    """An instance; its role has no credentials yet."""
    with instance() as found:
        yield found


def session(plane: DevPlane, found: Instance, name: str) -> str:
    """Let the instance's role have a new session of the plane; return its key."""
    keys = plane.client("sts").assume_role(RoleArn=role_arn("node"), RoleSessionName=name)["Credentials"]
    expires = f"{keys['Expiration']:%Y-%m-%dT%H:%M:%SZ}"
    found.issue(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], expires=expires)
    return str(keys["AccessKeyId"])


def of_imds(found: Instance) -> Environment:
    """Return the environment of an agent on that instance."""
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": found.url}


def serves_a_pod(plane: DevPlane, started: AgentProcess) -> bool:
    """Say whether a pod of the plane gets its credentials from the agent."""
    with pod_token(plane, "demo-ns", "demo-sa") as token:
        status, body, _ = get(started.door(), token=token)
    assert status == 200, body
    return bool(json.loads(body)["AccessKeyId"].startswith("ASIA"))


def test_the_nodes_role_and_region(plane: DevPlane, ec2: Instance, tmp_path: Path) -> None:
    """Nothing is configured at all, as on EKS: region and credentials are the instance's."""
    session(plane, ec2, "node")
    with agent(tmp_path, *HERE, "-c", CLUSTER, "--endpoint", plane.url, env=of_imds(ec2)) as started:
        assert serves_a_pod(plane, started)
        signs = started.event("agent.signs_with")
        assert (signs["source"], signs["where"]) == ("imds", ec2.url)
    assert [path for _, path in ec2.asked] == [
        TOKEN_PATH, "/latest/meta-data/placement/region", TOKEN_PATH, ROLES, ROLES + "node"
    ]  # fmt: skip
    text = json.dumps(started.events)
    assert not [value for key, value in ec2.keys.items() if key in {"SecretAccessKey", "Token"} and value in text]


def test_a_web_identity_at_the_planes_sts(plane: DevPlane, tmp_path: Path) -> None:
    """The agent's own token for the node's role; AWS_ENDPOINT_URL leads it to STS and to EKS Auth."""
    words = ("rolecall", "token", "create", "-n", NODE[0], "-s", NODE[1], "--audience", "sts.amazonaws.com")
    file = tmp_path / "own-token"
    file.write_text(plane.shell(*words).stdout)
    env = ENV | {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": role_arn("node"), "AWS_ENDPOINT_URL": plane.url
    }  # fmt: skip
    with agent(tmp_path, *HERE, "-c", CLUSTER, env=env) as started:
        assert serves_a_pod(plane, started)
        signs = started.event("agent.signs_with")
        assert (signs["source"], signs["where"]) == ("web-identity", f"{role_arn('node')} by {plane.url}")


def test_another_agent_as_the_containers_provider(plane: DevPlane, tmp_path: Path) -> None:
    """The plane's real agent hands this one the node's role, by an association of its service account."""
    file = tmp_path / "own-token"
    with pod_token(plane, *NODE) as token:
        file.write_text(token)
        env = ENV | {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{plane.agent_url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
        }  # fmt: skip
        with agent(tmp_path, *HERE, "-c", CLUSTER, "--endpoint", plane.url, env=env) as started:
            assert serves_a_pod(plane, started)
            assert started.event("agent.signs_with")["source"] == "container"


def test_a_node_without_a_role_says_so(plane: DevPlane, ec2: Instance, tmp_path: Path) -> None:
    """To the pod, which keeps trying, and in the log; and once the role is there, pods are served."""
    ec2.role = ""
    env = ENV | of_imds(ec2)
    with (
        agent(tmp_path, *HERE, "-c", CLUSTER, "--endpoint", plane.url, env=env) as started,
        pod_token(plane, "demo-ns", "demo-sa") as token,
    ):
        door = started.door()
        status, body, _ = get(door, token=token)
        assert (status, b"this instance has no role" in body) == (500, True), body
        failed = started.event("agent.upstream_failed")
        assert (failed["code"], "instance profile" in str(failed["hint"])) == ("node-credentials", True)
        ec2.role = "node"
        session(plane, ec2, "late")
        wait_until(lambda: get(door, token=token)[0] == 200, "the agent to find the role")


def test_an_outage_of_imds(plane: DevPlane, ec2: Instance, tmp_path: Path) -> None:
    """What has ended and cannot be renewed is used on, as EC2 keeps it valid: said, and no pod is told."""
    session(plane, ec2, "old")
    ends = int(time.time()) + 2
    ec2.keys["Expiration"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
    with (
        agent(tmp_path, *HERE, "-c", CLUSTER, "--endpoint", plane.url, env=ENV | of_imds(ec2)) as started,
        pod_token(plane, "demo-ns", "demo-sa") as token,
    ):
        door = started.door()
        wait_until(lambda: len(ec2.asked) == 3, "the first credentials")
        ec2.enabled = False
        wait_until(lambda: time.time() > ends, "their end")
        assert get(door, token=token)[0] == 200
        assert "HTTP status 403" in str(started.event("node_credentials.failed")["why"])


def test_a_shared_file_that_is_rotated(plane: DevPlane, tmp_path: Path) -> None:
    """A key that ends and its successor: between two calls, without a restart; the file is replaced, as rotators do."""
    file, good = tmp_path / "credentials", (plane.state / "node-credentials").read_text()
    file.write_text(good.replace(plane.keys("node-credentials")["aws_secret_access_key"], "the-former-one"))
    env = ENV | {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    with (
        agent(tmp_path, *HERE, "-c", CLUSTER, "--endpoint", plane.url, env=env) as started,
        pod_token(plane, "demo-ns", "demo-sa") as token,
    ):
        door = started.door()
        assert get(door, token=token)[0] != 200
        assert "signature" in str(started.event("agent.not_believed")["why"])
        (tmp_path / "new").write_text(good)
        (tmp_path / "new").replace(file)
        wait_until(lambda: get(door, token=token)[0] == 200, "the new key")


@contextmanager
def threaded(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a port of this machine, whatever becomes of the test; yield the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def forward_proxy(port: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a proxy that leads every CONNECT to a port of this machine, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(f"{self.requestline} {self.headers['proxy-authorization']}")
            self.send_response(200)
            self.end_headers()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=pump, args=(server, self.connection), daemon=True)
                back.start()
                pump(self.connection, server)
                back.join(5)
            self.close_connection = True

        def do_GET(self) -> None:
            asked.append(self.requestline)
            self.send_error(502)

        def do_PUT(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with threaded(Handler) as listening:
        yield f"http://user:word@127.0.0.1:{listening}", asked


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, and its end."""
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def tls_server(context: ssl.SSLContext, answer: Callable[[str, bytes], tuple[int, bytes]]) -> Iterator[int]:
    """Serve POSTs over TLS; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            status, body = answer(f"{self.headers['host']}{self.path}", sent)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with threaded(Handler, context) as port:
        yield port


def issued() -> bytes:
    """Return EKS Auth's answer (EKS Auth API Reference)."""
    arn = "arn:aws-cn:eks:cn-north-1:123456789012:podidentityassociation/demo/a-abcdefghijklmnop1"
    return json.dumps(
        {
            "subject": {"namespace": "ns", "serviceAccount": "sa"}, "audience": "pods.eks.amazonaws.com",
            "podIdentityAssociation": {"associationArn": arn, "associationId": "a-abcdefghijklmnop1"},
            "assumedRoleUser": {"arn": "arn:aws-cn:sts::123456789012:assumed-role/r/s", "assumeRoleId": "AROA:s"},
            "credentials": {
                "sessionToken": "t", "secretAccessKey": "s", "accessKeyId": "ASIACHINA", "expiration": 4_000_000_000
            },
        }
    ).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("env", "host"),
    [
        ({"AWS_REGION": "cn-north-1"}, "eks-auth.cn-north-1.api.amazonwebservices.com.cn"),
        ({"AWS_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "true"}, "eks-auth-fips.us-east-1.api.aws"),
    ],
    ids=["China", "FIPS"],
)
def test_awss_own_endpoint_through_a_proxy(tmp_path: Path, env: Environment, host: str) -> None:
    """HTTPS_PROXY, with its password; the certificate by AWS_CA_BUNDLE; the name by partition and FIPS."""
    bundle, context = certify(tmp_path, host)
    asked: list[str] = []

    def answer(url: str, _sent: bytes) -> tuple[int, bytes]:
        asked.append(url)
        return 200, issued()

    keys = KEYS | {"AWS_CA_BUNDLE": str(bundle)}
    with tls_server(context, answer) as port, forward_proxy(port) as (proxy, tunnels):
        env = env | keys | {"HTTPS_PROXY": proxy, "NO_PROXY": "169.254.0.0/16"}
        with agent(tmp_path, *HERE, "-c", "demo", env=env) as started:
            status, body, _ = get(started.door(), token=TOKEN)
            assert (status, json.loads(body)["AccessKeyId"]) == (200, "ASIACHINA"), body
    assert asked == [f"{host}/clusters/demo/assume-role-for-pod-identity"]
    (tunnel,) = tunnels
    assert tunnel.startswith(f"CONNECT {host}:443 HTTP/1.")
    assert tunnel.endswith(base64.b64encode(b"user:word").decode())


@pytest.mark.parametrize(
    "near",
    [
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://192.0.2.1"},  # RFC 5737: nobody's
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1"},
    ],
    ids=["IMDS", "ECS"],
)
def test_what_is_near_is_never_asked_through_a_proxy(tmp_path: Path, near: Environment) -> None:
    """A proxy would be handed the keys to the node's role; and EC2 refuses what was forwarded."""
    with forward_proxy(1) as (proxy, asked):
        with agent(tmp_path, *HERE, "-c", "demo", env=ENV | near | {"HTTP_PROXY": proxy}) as started:
            assert "http://1" in str(started.event("node_credentials.failed")["why"])
        assert asked == []


def test_eks_auth_is_asked_through_a_proxy_also_in_plain_http(tmp_path: Path) -> None:
    """The whole URL goes to the proxy; its failure is EKS Auth's."""
    with forward_proxy(1) as (proxy, asked):
        env = ENV | KEYS | {"HTTP_PROXY": proxy, "AWS_ENDPOINT_URL": "http://192.0.2.1"}
        with agent(tmp_path, *HERE, "-c", "demo", env=env) as started:
            assert get(started.door(), token=TOKEN)[0] == 502
        assert any(line.startswith("POST http://192.0.2.1/clusters/demo/") for line in asked)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (ENV | {"AWS_EC2_METADATA_DISABLED": "true"}, "no AWS credentials to sign with"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, "the AWS region is not known"),
        (ENV | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:80/v1/credentials"}, "would ask itself"),
    ],
    ids=["none", "no region", "itself"],
)
def test_it_does_not_start_without_credentials_that_can_work(tmp_path: Path, env: Environment, told: str) -> None:
    """Exit code 2 and a sentence."""
    with agent(tmp_path, "-b", "127.0.0.1", "-p", "80", "-c", "demo", env=env) as started:
        _, said = started.process.communicate(timeout=20)
    assert (started.process.returncode, told in said, "Traceback" in said) == (2, True, False), said

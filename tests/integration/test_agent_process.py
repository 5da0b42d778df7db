"""The agent as a process of its own, as it runs on a node: its ports, its end, and the plane behind it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jwt
import pytest

from integration.dev_plane import CLUSTER, DevPlane, plain_environment, wait_until
from integration.ports import free_port

TOKEN = jwt.encode({"iss": "https://issuer"}, "k" * 64, algorithm="HS256")


@dataclass
class AgentProcess:
    """``python -m rolecall.daemons.agent serve``, and what it logs."""

    process: subprocess.Popen[str]
    events: list[dict[str, object]] = field(default_factory=list)

    def event(self, name: str) -> dict[str, object]:
        """Return the next event of that name in its log."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == name:
                return self.events[-1]
        raise AssertionError(f"it ended without {name}: {self.events}")

    def door(self) -> str:
        """Return the address of its door, once it serves."""
        (address, *_) = self.event("agent.serving")["addresses"]
        return str(address)


@contextmanager
def agent(
    home: Path, *flags: str, stdin: int = subprocess.DEVNULL, env: dict[str, str] | None = None
) -> Iterator[AgentProcess]:
    """Run an agent with these flags; it is killed where a test has not ended it."""
    keys = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIANODE", "AWS_SECRET_ACCESS_KEY": "x"}
    command = [sys.executable, "-m", "rolecall.daemons.agent", "serve", *flags]
    environment = plain_environment(home) | (keys if env is None else env)
    with subprocess.Popen(command, env=environment, stdin=stdin, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield AgentProcess(process)
        finally:
            process.kill()


QUIET = ("--probe-port", "0", "--metrics-port", "0")
HERE = ("-b", "127.0.0.1", "-p", "0", *QUIET)


def get(address: str, path: str = "/v1/credentials", token: str = "", method: str = "GET") -> tuple[int, bytes, str]:
    """Return status, body and content type of an answer."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=20)
    try:
        connection.request(method, path, headers={"Authorization": token} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["content-type"]
    finally:
        connection.close()


def refused(home: Path, *flags: str) -> str:
    """Return what an agent says that cannot run."""
    with agent(home, *flags) as started:
        _, said = started.process.communicate(timeout=20)
    assert started.process.returncode == 2, said
    assert "Traceback" not in said
    return said


def node_environment(plane: DevPlane) -> dict[str, str]:
    """Return the environment of a node that signs with the plane's node key."""
    return {"AWS_SHARED_CREDENTIALS_FILE": str(plane.state / "node-credentials"), "AWS_REGION": "us-west-2"}


@contextmanager
def pod_token(plane: DevPlane, namespace: str, account: str, *flags: str) -> Iterator[str]:
    """Yield the token of a pod that runs meanwhile."""
    show = 'cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"; echo; read wait'
    command = ["rolecall", "run", "-n", namespace, "-s", account, *flags, "--", "sh", "-c", show]
    with subprocess.Popen(
        command, env=plane.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        yield running.stdout.readline().strip()
        running.stdin.close()


def test_it_serves_a_pod_of_a_fixed_cluster(stage: DevPlane, tmp_path: Path) -> None:
    """GET has the five members, HEAD the same head without a body, and a second GET asks nobody."""
    with (
        agent(tmp_path, *HERE, "-c", CLUSTER, "--endpoint", stage.url, env=node_environment(stage)) as started,
        pod_token(stage, "demo-ns", "demo-sa") as token,
    ):
        door = started.door()
        status, body, kind = get(door, token=token)
        assert (status, kind) == (200, "application/json"), body
        assert list(json.loads(body)) == ["AccessKeyId", "SecretAccessKey", "Token", "AccountId", "Expiration"]
        assert get(door, token=token) == (status, body, kind)
        assert get(door, token=token, method="HEAD") == (status, b"", kind)
        assert get(door, token=token, method="POST")[0] == 405
        assert get(door, "/v1/credentials/", token=token)[0] == 404
        assert get(door)[:2] == (400, b"Service account token cannot be empty\n")
        status, body, _ = get(door, token=TOKEN)
        assert (status, b"(InvalidTokenException)" in body or b"(InvalidRequestException)" in body) == (400, True), body
        started.process.terminate()
        assert started.process.wait(20) == 0


def test_known_requests_take_the_short_way(stage: DevPlane, tmp_path: Path) -> None:
    """The same bytes again are answered alike without being read, with a new connection and on an old one."""
    metrics = free_port()
    flags = ("-b", "127.0.0.1", "-p", "0", "--probe-port", "0", "--metrics-address", "127.0.0.1")
    flags += ("--metrics-port", str(metrics), "-c", CLUSTER, "--endpoint", stage.url)
    with (
        agent(tmp_path, *flags, env=node_environment(stage)) as started,
        pod_token(stage, "demo-ns", "demo-sa") as token,
    ):
        door = started.door()
        first = get(door, token=token)
        assert [get(door, token=token) for _ in range(3)] == [first] * 3
        connection = http.client.HTTPConnection(door, timeout=20)
        for _ in range(2):
            connection.request("GET", "/v1/credentials", headers={"Authorization": token})
            assert connection.getresponse().read() == first[1]
        connection.close()
        text = get(f"127.0.0.1:{metrics}", "/metrics")[1].decode()
    assert "rolecall_agent_known_requests_total 5\n" in text
    assert 'rolecall_agent_upstream_total{code="ok"} 1' in text


def test_two_clusters_by_issuer(stage: DevPlane, tmp_path: Path) -> None:
    """The token's issuer chooses; a cluster that is written into the file meanwhile is served at once."""
    eks, iam = stage.client("eks"), stage.client("iam")
    made = eks.create_cluster(name="second", roleArn="arn:aws:iam::123456789012:role/any", resourcesVpcConfig={})
    role = iam.get_role(RoleName=f"{CLUSTER}-role")["Role"]["Arn"]
    eks.create_pod_identity_association(clusterName="second", namespace="ns", serviceAccount="sa", roleArn=role)
    first = eks.describe_cluster(name=CLUSTER)["cluster"]["identity"]["oidc"]["issuer"]
    second = made["cluster"]["identity"]["oidc"]["issuer"]
    clusters = tmp_path / "clusters.json"
    clusters.write_text(json.dumps({first: CLUSTER}))
    flags = (*HERE, "--clusters-file", str(clusters), "--endpoint", stage.url)
    try:
        with (
            agent(tmp_path, *flags, env=node_environment(stage)) as started,
            pod_token(stage, "demo-ns", "demo-sa", "--cluster", CLUSTER) as one,
            pod_token(stage, "ns", "sa", "--cluster", "second") as two,
        ):
            door = started.door()
            assert get(door, token=one)[0] == 200
            status, body, _ = get(door, token=two)
            assert (status, second.encode() in body) == (400, True), body
            clusters.write_text(json.dumps({first: CLUSTER, second: "second"}))
            key = json.loads(wait_for_200(door, two))["AccessKeyId"]
            told = stage.shell("rolecall", "session", "describe", key, "-o", "json").stdout
            assert json.loads(told)["tags"]["eks-cluster-name"] == "second"
    finally:
        for one in eks.list_pod_identity_associations(clusterName="second")["associations"]:
            eks.delete_pod_identity_association(clusterName="second", associationId=one["associationId"])
        eks.delete_cluster(name="second")


def wait_for_200(door: str, token: str) -> bytes:
    """Return the body of the first success: a failure is remembered for a moment."""
    found: list[bytes] = []

    def asked() -> bool:
        status, body, _ = get(door, token=token)
        found.extend([body] if status == 200 else [])
        return bool(found)

    wait_until(asked, "the door to serve")
    return found[0]


def test_an_address_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    """A node without the link-local address, or without IPv6, still serves what it has; the log says which."""
    hosts = ("-b", "169.254.170.23", "-b", "127.0.0.1", "-b", "[fd00:ec2::23]")
    with agent(tmp_path, *hosts, "-p", "0", *QUIET, "-c", "demo") as started:
        door = started.door()
        missing = [event for event in started.events if event["event"] == "agent.not_bound"]
        assert [event["host"] for event in missing] == ["169.254.170.23", "fd00:ec2::23"]
        assert all("cannot listen on" in str(event["why"]) for event in missing)
        status, body, _ = get(door)
        assert (status, body) == (400, b"Service account token cannot be empty\n")


def test_what_cannot_be_bound_is_said(tmp_path: Path) -> None:
    """Exit code 2 where no door is left or a port is taken: which address, and which flag changes it."""
    said = refused(tmp_path, "-b", "169.254.170.23", "-b", "[fd00:ec2::23]", "-c", "demo", *QUIET)
    assert "rolecall agent: cannot listen on 169.254.170.23:80" in said
    assert "cannot listen on fd00:ec2::23:80" in said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        door = ("-b", "127.0.0.1", "-c", "demo", "-p")
        metrics = ("--metrics-address", "127.0.0.1", "--metrics-port")
        for flags, flag in (
            ((*door, port, *QUIET), "port"),
            ((*door, "0", "--probe-port", port, "--metrics-port", "0"), "--probe-port"),
            ((*door, "0", "--probe-port", "0", *metrics, port), "--metrics-port"),
        ):
            said = refused(tmp_path, *flags)
            assert f"127.0.0.1:{port} is in use" in said
            assert flag in said.splitlines()[-1]


def test_probes_and_metrics_have_ports_of_their_own(tmp_path: Path) -> None:
    """Both answer all three, the door none of them; what the door answered is counted."""
    probe, metrics = free_port(), free_port()
    ports = ("--probe-port", str(probe), "--metrics-address", "127.0.0.1", "--metrics-port", str(metrics))
    with agent(tmp_path, "-b", "127.0.0.1", "-p", "0", *ports, "-c", "demo") as started:
        door = started.door()
        for path in ("/healthz", "/readyz", "/metrics"):
            assert get(door, path)[0] == 404
            for port in (probe, metrics):
                assert get(f"127.0.0.1:{port}", path)[0] == 200
        assert get(f"127.0.0.1:{probe}", "/v1/credentials")[0] == 404
        text = get(f"127.0.0.1:{metrics}", "/metrics")[1].decode()
        assert 'pod_identity_http_response{code="404"} 3\n' in text


@dataclass
class SlowUpstream:
    """An EKS Auth that says when it was asked, and answers when it is told to."""

    url: str
    asked: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def upstream() -> Iterator[SlowUpstream]:
    """Serve one for a test, on loopback."""
    found = SlowUpstream("")
    issued = {
        "credentials": {
            "accessKeyId": "ASIASLOW", "secretAccessKey": "s", "sessionToken": "t", "expiration": 4_000_000_000,
        },
        "assumedRoleUser": {"arn": "arn:aws:sts::123456789012:assumed-role/r/s", "assumeRoleId": "AROA:s"},
        "audience": "pods.eks.amazonaws.com",
        "podIdentityAssociation": {
            "associationArn": "arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1",
            "associationId": "a-1",
        },
        "subject": {"namespace": "ns", "serviceAccount": "sa"},
    }  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found.asked.set()
            found.answer.wait(20)
            body = json.dumps(issued).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        found.answer.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_request_in_flight_is_answered_before_the_end(
    tmp_path: Path, upstream: SlowUpstream, number: signal.Signals
) -> None:
    """The signal closes the door to new callers; who is inside gets credentials; then it ends with 0."""
    with agent(tmp_path, *HERE, "-c", "demo", "--endpoint", upstream.url) as started:
        door = started.door()
        answers: list[tuple[int, bytes, str]] = []
        caller = threading.Thread(target=lambda: answers.append(get(door, token=TOKEN)))
        caller.start()
        assert upstream.asked.wait(20)
        started.process.send_signal(number)
        wait_until(lambda: not can_connect(door), "the door to close")
        assert started.process.poll() is None
        upstream.answer.set()
        caller.join(20)
        ((status, body, _),) = answers
        assert (status, json.loads(body)["AccessKeyId"]) == (200, "ASIASLOW")
        assert started.process.wait(20) == 0
        assert started.event("agent.stopped")["level"] == "info"


def can_connect(address: str) -> bool:
    """Say whether somebody listens."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_one_that_hangs_does_not_keep_it_alive(tmp_path: Path, upstream: SlowUpstream) -> None:
    """Draining has an end: an upstream that never answers, and a caller that waits for it, are left."""
    with agent(tmp_path, *HERE, "-c", "demo", "--endpoint", upstream.url) as started:
        host, _, port = started.door().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as caller:
            caller.sendall(f"GET /v1/credentials HTTP/1.1\r\nhost: {host}\r\nauthorization: {TOKEN}\r\n\r\n".encode())
            assert upstream.asked.wait(20)
            started.process.terminate()
            assert started.process.wait(20) == 0


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """With --exit-with-stdin, when stdin closes: also where its parent was killed. What comes in there is nothing."""
    reader, writer = os.pipe()
    with agent(tmp_path, *HERE, "-c", "demo", "--exit-with-stdin", stdin=reader) as started:
        os.close(reader)
        door = started.door()
        os.write(writer, b"hello")
        assert get(door)[0] == 400
        os.close(writer)
        assert started.process.wait(20) == 0


def test_without_that_flag_stdin_means_nothing(tmp_path: Path) -> None:
    """A container has /dev/null there, or nothing at all."""
    with agent(tmp_path, *HERE, "-c", "demo", stdin=subprocess.DEVNULL) as started:
        door = started.door()
        assert get(door)[0] == 400
        assert started.process.poll() is None


def test_its_log_shows_no_token_and_no_key(stage: DevPlane, tmp_path: Path) -> None:
    """Not at the most talkative either, for what succeeds and for what is refused."""
    with (
        agent(
            tmp_path, *HERE, "-v", "trace", "-c", CLUSTER, "--endpoint", stage.url, env=node_environment(stage)
        ) as it,
        pod_token(stage, "demo-ns", "demo-sa") as token,
    ):
        door = it.door()
        issued = json.loads(get(door, token=token)[1])
        assert get(door, token=TOKEN)[0] == 400
        it.process.terminate()
        assert it.process.stderr is not None
        log = json.dumps(it.events) + it.process.stderr.read()
    assert '"status":200' in log
    assert '"status":400' in log
    secrets = [token.rpartition(".")[2], TOKEN.rpartition(".")[2], issued["SecretAccessKey"], issued["Token"]]
    secrets.append(stage.keys("node-credentials")["aws_secret_access_key"])
    assert [secret for secret in secrets if secret in log] == []

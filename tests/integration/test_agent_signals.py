"""An agent in use: how it ends with requests in flight, what it reads again, what it shows and what it writes down."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration.dev_plane import plain_environment, wait_until
from integration.test_agent_process import QUIET, AgentProcess, agent, can_connect, free_port, get

POD = {"namespace": "claimed-ns", "serviceaccount": {"name": "sa"}, "pod": {"name": "web-1", "uid": "u-1"}}
DOOR = ("-b", "127.0.0.1", "-p", "0", "-c", "demo")
LAST = 1.0
"""Seconds within which the agent is gone after its last answer (what operators were promised)."""


def token(name: str) -> str:
    """Return a token of a pod; the upstream of these tests verifies none."""
    return jwt.encode({"iss": "https://issuer", "jti": name, "kubernetes.io": POD}, "k" * 64, algorithm="HS256")


class Server(ThreadingHTTPServer):
    """With room for callers who come at once: the usual five make the kernel drop one, who is back a second later."""

    daemon_threads = True
    request_queue_size = 128


class Upstream:
    """An EKS Auth that takes `seconds` for each answer, with a status and a code that a test may change."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds, self.status, self.code = 0.0, 200, ""
        self.asked = 0

    def body(self) -> bytes:
        """Return the answer as it is now."""
        if self.status != 200:
            return json.dumps({"message": "because"}).encode()
        issued = {
            "credentials": {
                "accessKeyId": "ASIASLOW", "secretAccessKey": "not-to-be-seen-s", "sessionToken": "not-to-be-seen-t",
                "expiration": 4_000_000_000,
            },
            "assumedRoleUser": {"arn": "arn:aws:sts::123456789012:assumed-role/r/s", "assumeRoleId": "AROA:s"},
            "audience": "pods.eks.amazonaws.com",
            "podIdentityAssociation": {
                "associationArn": "arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-1",
                "associationId": "a-1",
            },
            "subject": {"namespace": "ns", "serviceAccount": "sa"},
        }  # fmt: skip
        return json.dumps(issued).encode()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Serve one for a test, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found.asked += 1
            time.sleep(found.seconds)
            body = found.body()
            self.send_response(found.status)
            self.send_header("x-amzn-requestid", "4f0a-request")
            if found.code:
                self.send_header("x-amzn-errortype", found.code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:  # the list of revocations, which AWS does not have
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        found = Upstream(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


class Callers:
    """Pods that ask at once, each for itself; what came back, and when."""

    def __init__(self, door: str, count: int) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.last = 0.0
        self._threads = [threading.Thread(target=self._ask, args=(door, token(f"{n}"))) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, door: str, text: str) -> None:
        status, body, _ = get(door, token=text)
        self.answers.append((status, body))
        self.last = time.monotonic()

    def join(self) -> None:
        """Wait until all have their answers."""
        for thread in self._threads:
            thread.join(30)


@pytest.mark.parametrize("seconds", [0.8, 2.5], ids=str)
def test_requests_in_flight_finish_and_then_it_ends(tmp_path: Path, upstream: Upstream, seconds: float) -> None:
    """With credentials, also where upstream takes longer than any SDK waits; a second later it is gone."""
    upstream.seconds = seconds
    with agent(tmp_path, *DOOR, *QUIET, "--endpoint", upstream.url) as it:
        door = it.door()
        callers = Callers(door, 8)
        wait_until(lambda: upstream.asked == 8, "all to be under way")
        it.process.terminate()
        assert it.event("agent.draining")["requests"] == 8
        wait_until(lambda: not can_connect(door), "the door to close")
        callers.join()
        assert it.process.wait(30) == 0
        assert time.monotonic() - callers.last < LAST
        assert [status for status, _ in callers.answers] == [200] * 8
        assert it.event("agent.stopped")["level"] == "info"


def test_a_late_answer_is_kept(tmp_path: Path, upstream: Upstream) -> None:
    """Upstream takes three seconds and the SDK waits one: it asks again, and one call answers them all."""
    upstream.seconds = 3.0
    with agent(tmp_path, *DOOR, *QUIET, "--endpoint", upstream.url) as it:
        host, _, port = it.door().rpartition(":")
        impatient = http.client.HTTPConnection(host, int(port), timeout=1.0)
        impatient.request("GET", "/v1/credentials", headers={"Authorization": token("x")})
        with pytest.raises(TimeoutError):
            impatient.getresponse()
        impatient.close()
        assert get(f"{host}:{port}", token=token("x"))[0] == 200
        assert get(f"{host}:{port}", token=token("x"))[0] == 200
        assert upstream.asked == 1


def test_an_upstream_that_never_answers_is_a_clear_error(tmp_path: Path, upstream: Upstream) -> None:
    """After six seconds at most, which of the two it was, and whom it asked."""
    upstream.seconds = 30.0
    with agent(tmp_path, *DOOR, *QUIET, "--endpoint", upstream.url) as it:
        status, body, _ = get(it.door(), token=token("x"))
        assert (status, upstream.url in body.decode(), b"did not answer in time" in body) == (500, True, True), body
        assert it.event("agent.upstream_failed")["code"] == "timeout"


def test_an_idle_agent_ends_at_once(tmp_path: Path) -> None:
    """Connections that are kept and ask for nothing are no requests."""
    with agent(tmp_path, *DOOR, *QUIET) as it:
        host, _, port = it.door().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as idle:
            idle.sendall(b"GET /v1/credentials HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert idle.recv(4096).startswith(b"HTTP/1.1 400 ")
            before = time.monotonic()
            it.process.terminate()
            assert it.process.wait(30) == 0
            assert time.monotonic() - before < LAST


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_ends_it_at_once(tmp_path: Path, upstream: Upstream, second: signal.Signals) -> None:
    """Whoever sends it does not want to wait for those in flight."""
    upstream.seconds = 5.0
    with agent(tmp_path, *DOOR, *QUIET, "--endpoint", upstream.url) as it:
        host, _, port = it.door().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as caller:
            head = f"GET /v1/credentials HTTP/1.1\r\nhost: {host}\r\nauthorization: {token('x')}\r\n\r\n"
            caller.sendall(head.encode())
            wait_until(lambda: upstream.asked == 1, "the request to be under way")
            it.process.terminate()
            it.event("agent.draining")
            it.process.send_signal(second)
            assert it.process.wait(30) == -second, "ended by it, and not by having waited"


def test_probes_go_on_while_it_drains(tmp_path: Path, upstream: Upstream) -> None:
    """Alive, not ready, and saying why: a kubelet does not kill what is about to end well."""
    upstream.seconds = 1.5
    probe = free_port()
    flags = (*DOOR, "--probe-port", str(probe), "--metrics-port", "0", "--endpoint", upstream.url)
    with agent(tmp_path, *flags) as it:
        callers = Callers(it.door(), 1)
        wait_until(lambda: upstream.asked == 1, "the request to be under way")
        assert get(f"127.0.0.1:{probe}", "/readyz")[0] == 200
        it.process.terminate()
        it.event("agent.draining")
        assert get(f"127.0.0.1:{probe}", "/healthz")[0] == 200
        status, body, _ = get(f"127.0.0.1:{probe}", "/readyz")
        assert (status, json.loads(body)["faults"]) == (503, ["the agent is stopping"])
        callers.join()
        assert callers.answers[0][0] == 200
        assert it.process.wait(30) == 0


def test_hangup_reads_again_and_lets_the_mended_in(tmp_path: Path, upstream: Upstream) -> None:
    """It goes on serving, says what it found, and asks again for those that were refused."""
    upstream.status, upstream.code = 404, "ResourceNotFoundException"
    key = tmp_path / "credentials"
    key.write_text("[default]\naws_access_key_id = AKIA\naws_secret_access_key = x\n")
    env = {"AWS_REGION": "us-west-2", "AWS_SHARED_CREDENTIALS_FILE": str(key)}
    with agent(tmp_path, *DOOR, *QUIET, "--endpoint", upstream.url, env=env) as it:
        door = it.door()
        for _ in range(4):  # remembered for longer each time
            assert get(door, token=token("x"))[0] == 404
            it.process.send_signal(signal.SIGHUP)
            reloaded = it.event("agent.reloaded")
            assert (reloaded["level"], reloaded["failures_forgotten"], reloaded["faults"]) == ("info", 1, [])
        upstream.status, upstream.code = 200, ""
        assert get(door, token=token("x"))[0] == 200
        key.unlink()
        it.process.send_signal(signal.SIGHUP)
        reloaded = it.event("agent.reloaded")
        assert reloaded["level"] == "warning"
        assert str(key) in str(reloaded["faults"])
        assert get(door, token=token("x"))[0] == 200


@contextmanager
def watched(tmp_path: Path, upstream: Upstream, *flags: str) -> Iterator[tuple[AgentProcess, str, str, Path]]:
    """Run an agent with metrics and an admin socket; yield it, its door, the metrics' address and the socket."""
    metrics, admin = free_port(), tmp_path / "admin.sock"
    ports = ("--probe-port", "0", "--metrics-address", "127.0.0.1", "--metrics-port", str(metrics))
    with agent(tmp_path, *DOOR, *ports, "--admin-socket", str(admin), "--endpoint", upstream.url, *flags) as it:
        yield it, it.door(), f"127.0.0.1:{metrics}", admin


def test_it_is_seen_at_work(tmp_path: Path, upstream: Upstream) -> None:
    """Metrics as Prometheus reads them, one line of audit for one issuance, and a line for each refusal."""
    with watched(tmp_path, upstream) as (it, door, metrics, _admin):
        for _ in range(5):
            assert get(door, token=token("a"))[0] == 200
        assert get(door, token="not a token")[0] == 400
        upstream.status, upstream.code = 400, "AccessDeniedException"
        assert get(door, token=token("b"))[0] == 400
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(get(metrics, "/metrics")[1].decode())
            for sample in family.samples
        }
        it.process.terminate()
        it.event("agent.stopped")
    wanted = {
        ("rolecall_agent_replies_total", "200"): 5,
        ("rolecall_agent_replies_total", "400"): 2,
        ("rolecall_agent_refusals_total", "malformed-token"): 1,
        ("rolecall_agent_refusals_total", "AccessDeniedException"): 1,
        ("rolecall_agent_cache_hits_total",): 4,
        ("rolecall_agent_cache_misses_total",): 2,
        ("rolecall_agent_cache_entries", "fresh"): 1,
        ("rolecall_agent_upstream_total", "ok"): 1,
        ("rolecall_agent_upstream_total", "AccessDeniedException"): 1,
        ("rolecall_agent_upstream_duration_seconds_count",): 2,
        ("rolecall_agent_request_duration_seconds_count",): 7,
        ("rolecall_agent_connections_total", "accepted"): 7,
        ("pod_identity_http_response_total", "200"): 5,
        ("pod_identity_cache_state_total", "miss"): 2,
    }
    assert {key: found.get(key) for key in wanted} == wanted
    (issued,) = [event for event in it.events if event["event"] == "agent.issued"]
    wanted_line = {
        "level": "info", "peer": "127.0.0.1", "namespace": "ns", "service_account": "sa", "unverified_pod": "web-1",
        "role_session": "arn:aws:sts::123456789012:assumed-role/r/s", "association": "a-1",
        "expires": "2096-10-02T07:06:40Z", "request_id": "4f0a-request", "renewal": False,
    }  # fmt: skip
    assert wanted_line.items() <= issued.items()
    refused = [event["code"] for event in it.events if event["event"] == "agent.refused"]
    assert refused == ["malformed-token", "AccessDeniedException"]


def test_status_shows_what_is_held(tmp_path: Path, upstream: Upstream) -> None:
    """To the operator of the node, as a table or as JSON; by upstream's word, and nothing that opens a door."""
    with watched(tmp_path, upstream) as (it, door, _metrics, admin):
        assert stat.S_IMODE(admin.lstat().st_mode) == 0o600
        text = token("a")
        for _ in range(3):
            assert get(door, token=text)[0] == 200
        table, code = status(tmp_path, admin)
        assert code == 0
        row = table.splitlines()[-1].split()
        assert (row[:3], row[-2:]) == (["ns", "sa", "fresh"], ["2", "127.0.0.1"])
        shown, code = status(tmp_path, admin, "-o", "json")
        found = json.loads(shown)
        (entry,) = found["entries"]
        assert (entry["namespace"], entry["service_account"], entry["hits"]) == ("ns", "sa", 2)
        assert (found["totals"]["upstream"], found["ready"], code) == ({"ok": 1}, True, 0)
        for hidden in ("not-to-be-seen", "ASIASLOW", "AKIA", *text.split(".")):
            assert hidden not in table + shown
        it.process.terminate()
        assert it.process.wait(30) == 0
        assert not admin.exists()
        said, code = status(tmp_path, admin)
        assert (code, "--admin-socket" in said) == (2, True)


def test_an_admin_socket_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """Exit code 2, and the file that is in its place stays."""
    path = tmp_path / "precious"
    path.write_text("x")
    with agent(tmp_path, *DOOR, *QUIET, "--admin-socket", str(path)) as it:
        _, said = it.process.communicate(timeout=20)
    assert it.process.returncode == 2
    assert f"{path} is there already" in said
    assert path.read_text() == "x"


def test_logfmt(tmp_path: Path) -> None:
    """For those who read logs with their eyes."""
    with agent(tmp_path, *DOOR, *QUIET, "--log-format", "logfmt") as it:
        assert it.process.stderr is not None
        line = next(line for line in it.process.stderr if "agent.descriptors" not in line)
        assert " level=info event=agent.serving " in line
        assert line.startswith("time=20")


def status(home: Path, admin: Path, *flags: str) -> tuple[str, int]:
    """Return what `rolecall agent status` prints, and its exit code."""
    command = ["rolecall", "agent", "status", "--admin-socket", str(admin), *flags]
    done = subprocess.run(command, env=plain_environment(home), capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr, done.returncode

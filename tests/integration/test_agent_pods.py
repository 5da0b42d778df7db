"""An agent that watches the pods of its node: whose token it takes from where, and what it hands on when it restarts.

The API server is `kube_api.KubeApi`; pods ask from addresses of loopback that are theirs.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jwt
import pytest

from integration.dev_plane import wait_until
from integration.test_agent_faults import Running, Upstream, upstream
from integration.test_agent_process import agent, free_port, get
from kube_api import KubeApi

__all__ = ["upstream"]
PODS = "/api/v1/pods"
A, B = "127.0.0.2", "127.0.0.3"


class Cluster:
    """An API server in a thread of its own, with the pods of one node."""

    def __init__(self, home: Path) -> None:
        self.api = KubeApi()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.api.start(), self._loop).result(10)
        self.kubeconfig = home / "kubeconfig"
        server = {"clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.api.port}"}}]}
        context = {"contexts": [{"name": "c", "context": {"cluster": "c"}}], "current-context": "c"}
        self.kubeconfig.write_text(json.dumps({**server, **context}))

    def stop(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self.api.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def change(self, what: Callable[[], None]) -> None:
        """Do it where the server runs."""

        async def work() -> None:
            what()

        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    def run(self, name: str, address: str) -> str:
        """Run a pod; return its token."""
        spec, status = {"nodeName": "here"}, {"phase": "Running", "podIPs": [{"ip": address}]}
        self.change(lambda: self.api.put(PODS, name, metadata={"uid": f"uid-{name}"}, spec=spec, status=status))
        return token(name)

    def end(self, name: str) -> None:
        """Delete a pod."""
        self.change(lambda: self.api.drop(PODS, name))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """An API server without pods."""
    found = Cluster(tmp_path)
    yield found
    found.stop()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on tmpfs."""
    if not os.path.ismount("/dev/shm"):
        pytest.skip("there is no tmpfs at /dev/shm")
    found = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield found
    shutil.rmtree(found)


def token(pod: str, name: str = "") -> str:
    """Return a token of a pod, another one for another `name`."""
    claims = {"iss": "https://issuer", "jti": name, "kubernetes.io": {"namespace": "ns"}}
    claims["kubernetes.io"]["pod"] = {"name": pod, "uid": f"uid-{pod}"}
    return jwt.encode(claims, "k" * 64, algorithm="HS256")


def ask(door: str, shown: str, address: str) -> tuple[int, bytes]:
    """Return status and body of what a pod at this address is answered."""
    host, _, port = door.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20, source_address=(address, 0))
    try:
        connection.request("GET", "/v1/credentials", headers={"Authorization": shown})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def running(home: Path, cluster: Cluster, endpoint: str, *flags: str) -> Iterator[tuple[Running, str]]:
    """Run an agent whose log is read; yield it and the address of its probes."""
    port = free_port()
    command = ("-b", "127.0.0.1", "-p", "0", "--probe-port", str(port), "--metrics-port", "0", "-c", "demo")
    command += ("--endpoint", endpoint, "--node-name", "here", "--kubeconfig", str(cluster.kubeconfig))
    with ExitStack() as stack:
        started = Running(stack.enter_context(agent(home, *command, *flags)))
        try:
            yield started, f"127.0.0.1:{port}"
        finally:
            started.process.kill()
            started.join()


def test_off_warn_and_enforce(tmp_path: Path, cluster: Cluster, upstream: Upstream) -> None:
    """One pod's token from another's address: served, served and told of, refused; the pod itself is always served."""
    tokens = {A: cluster.run("a", A), B: cluster.run("b", B)}
    for mode, status in (("off", 200), ("warn", 200), ("enforce", 403)):
        with running(tmp_path, cluster, upstream.url, "--source-check", mode) as (started, probes):
            assert [ask(started.door, tokens[pod], pod)[0] for pod in (A, B)] == [200, 200]
            assert [ask(started.door, tokens[A], B)[0] for _ in range(2)] == [status] * 2
            assert ask(started.door, tokens[A], A)[0] == 200
            metrics = get(probes, "/metrics")[1].decode()
            said = [line for line in metrics.splitlines() if "source_check_total{" in line]
            found = 'rolecall_agent_source_check_total{reason="not-your-address"} 2'
            assert said == ([] if mode == "off" else [found])
            events = started.end()
        told = [(event["peer"], event["unverified_pod"]) for event in events if event["event"] == "agent.source_check"]
        assert told == ([(B, "a")] * 2 if mode == "warn" else [])


def test_an_agent_that_would_refuse_all_is_not_ready(tmp_path: Path, cluster: Cluster, upstream: Upstream) -> None:
    """Until it knows the pods of its node, and never again: what is known is served while the API server is away."""
    shown = cluster.run("a", A)
    cluster.api.refuse = 403
    with running(tmp_path, cluster, upstream.url, "--source-check", "enforce") as (started, probes):
        wait_until(lambda: b"Refused" in get(probes, "/readyz")[1], "the reason")
        assert (get(probes, "/readyz")[0], get(probes, "/healthz")[0]) == (503, 200)
        assert ask(started.door, shown, A)[0] == 503
        cluster.api.refuse = 0
        wait_until(lambda: get(probes, "/readyz")[0] == 200, "the pods")
        assert "rolecall_agent_pods 1\n" in get(probes, "/metrics")[1].decode()
        cluster.api.refuse = 503
        cluster.change(cluster.api.cut)
        wait_until(lambda: "pods_streaming 0\n" in get(probes, "/metrics")[1].decode(), "the end of the stream")
        assert get(probes, "/readyz")[0] == 200
        assert ask(started.door, shown, A)[0] == 200
        assert not any("crashed" in str(event["event"]) for event in started.end())


def test_a_restart_during_an_outage(tmp_path: Path, memory: Path, cluster: Cluster, upstream: Upstream) -> None:
    """Pods that live have what they had, under the token that was confirmed; nobody else. A kill changes nothing."""
    tokens = {name: cluster.run(name, address) for name, address in (("a", A), ("b", B))}
    flags = ("--source-check", "enforce", "--warm-file", str(memory / "agent" / "warm"))
    with running(tmp_path, cluster, upstream.url, *flags) as (first, _):
        before = ask(first.door, tokens["a"], A)
        assert (before[0], ask(first.door, tokens["b"], B)[0]) == (200, 200)
        first.end()
    upstream.fault = "reset"
    cluster.end("b")
    for _ in range(2):
        with running(tmp_path, cluster, upstream.url, *flags) as (started, probes):
            wait_until(lambda: ask(started.door, tokens["a"], A) == before, "what the pod had")
            assert ask(started.door, token("a", "another"), A)[0] == 500
            assert ask(started.door, tokens["b"], B)[0] == 503
            assert ask(started.door, tokens["a"], B)[0] == 403
            assert "warm_recalled_total 1\n" in get(probes, "/metrics")[1].decode()
            started.process.kill()
    upstream.fault = ""
    calls = upstream.calls[tokens["a"]]
    with running(tmp_path, cluster, upstream.url, *flags) as (started, probes):
        wait_until(lambda: ask(started.door, tokens["a"], A)[0] == 200, "credentials")
        wait_until(lambda: upstream.calls[tokens["a"]] > calls, "the confirmation")
        assert not any(part in json.dumps(started.end()) for one in tokens.values() for part in one.split(".")[1:])


@pytest.mark.parametrize("what", ["a disk", "another user's", "a link", "damaged"])
def test_a_file_that_is_not_to_be_used(
    tmp_path: Path, memory: Path, cluster: Cluster, upstream: Upstream, what: str
) -> None:
    """It is a reason to go without it, in so many words, and none to leave the pods without an agent."""
    place = (tmp_path if what == "a disk" else memory) / "agent"
    (memory / "elsewhere" if what == "a link" else place).mkdir(mode=0o700)
    (memory / "elsewhere" if what == "a link" else place).joinpath("warm").write_bytes(b"rolecall-warm-restart 1 ")
    if what == "a link":
        place.symlink_to(memory / "elsewhere")
    (place / "warm").chmod(0o600)
    if what == "another user's":
        os.chown(place, 1234, 1234)
    flags = ("--source-check", "warn", "--warm-file", str(place / "warm"))
    with running(tmp_path, cluster, upstream.url, *flags) as (started, _):
        assert ask(started.door, cluster.run("a", A), A)[0] == 200
        events = started.end()
    (said,) = (event for event in events if str(event["event"]).startswith("warm."))
    words = {"a disk": "not tmpfs", "another user's": "another user", "a link": "director", "damaged": "not whole"}
    assert (said["level"], said["event"]) == ("warning", "warm.ignored" if what == "damaged" else "warm.off")
    assert words[what] in str(said["why"])

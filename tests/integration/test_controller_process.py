"""The controller as a process: what it finds out by itself, its probes and metrics, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration.dev_plane import ACCOUNT, DevPlane, plain_environment, wait_until
from integration.test_webhook_process import ApiThread
from integration.webhook_process import free_port, kubeconfig

NAME = "kube-aws-iam-controller"
ROLES, SECRETS = "/apis/zalando.org/v1/awsiamroles", "/api/v1/secrets"


class Process:
    """One controller at a small API server, without a Lease."""

    def __init__(self, directory: Path, api: ApiThread, *flags: str, **env: str) -> None:
        self._out, self.port = directory / "controller.log", free_port()
        config = kubeconfig(directory / "kubeconfig", f"http://127.0.0.1:{api.api.port}")
        places = ["--bind-address=127.0.0.1", f"--port={self.port}", f"--kubeconfig={config}"]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [NAME, "--leader-elect=false", *places, *flags],
                env=plain_environment(directory) | env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def view(self, path: str) -> tuple[int, str]:
        """Return status and body of a page; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as fault:
            return fault.code, fault.read().decode()
        except OSError:
            return 0, ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    @property
    def output(self) -> str:
        """All that it said."""
        return self._out.read_text()

    def end(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def api() -> Iterator[ApiThread]:
    """An API server with a namespace."""
    with ApiThread() as found:
        found.loop.call_soon_threadsafe(lambda: found.api.put("/api/v1/namespaces", "shop"))
        yield found


def test_it_finds_out_what_nobody_says(api: ApiThread, tmp_path: Path) -> None:
    """Base ARN, region and credentials are the instance's; it is ready once all is listed, says what it has, and ends
    when it is told to."""
    plane = DevPlane(tmp_path / "state", tmp_path).start()
    process = Process(tmp_path, api, AWS_EC2_METADATA_SERVICE_ENDPOINT=plane.imds_url, AWS_ENDPOINT_URL_STS=plane.url)
    try:
        wait_until(lambda: process.view("/readyz")[0] == 200, f"it to be ready: {process.output}")
        assert process.view("/healthz")[0] == 200
        (found,) = process.events("controller.base_role_arn")
        assert found["found"] == f"arn:aws:iam::{ACCOUNT}:role/"
        assert process.events("controller.signs_with")[0]["source"] == "imds"
        meta = {"namespace": "shop", "uid": "u-1", "generation": 1}
        spec = {"roleReference": "bad role"}
        api.loop.call_soon_threadsafe(lambda: api.api.put(ROLES, "app", metadata=meta, spec=spec))
        api.loop.call_soon_threadsafe(lambda: api.api.put(SECRETS, "nobodys", metadata={"namespace": "shop"}))

        def counted() -> dict[str, float]:
            families = text_string_to_metric_families(process.view("/metrics")[1])
            return {one.name: sample.value for one in families for sample in one.samples if not sample.labels}

        wait_until(lambda: counted().get("rolecall_controller_awsiamroles") == 1.0, "the AWSIAMRole")
        wait_until(lambda: 'refusals_total{reason="bad-role"}' in process.view("/metrics")[1], "the refusal")
        assert counted()["rolecall_controller_leading"] == 1.0
        assert counted()["rolecall_controller_unrestricted_namespaces"] == 1.0
        assert process.events("controller.any_role")
        assert process.end() == 0, process.output
        assert process.events("controller.stopped")
        assert "crash" not in process.output
    finally:
        process.process.kill()
        process.process.wait()
        plane.stop()


def test_it_is_not_ready_while_it_does_not_know(api: ApiThread, tmp_path: Path) -> None:
    """An account without rights: it says which list it may not read, and goes on trying."""
    api.api.refuse = 403
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x" * 40, "AWS_REGION": "us-west-2"}
    process = Process(tmp_path, api, "--base-role-arn=arn:aws:iam::123456789012:role/", **keys)
    try:
        wait_until(lambda: "awsiamroles: it is Refused" in process.view("/readyz")[1], "why it is not ready")
        assert process.view("/readyz")[0] == 503
        assert process.view("/healthz")[0] == 200
        assert "grant it by a ClusterRole" in process.events("watch.failing")[0]["hint"]
        api.api.refuse = 0
        wait_until(lambda: process.view("/readyz")[0] == 200, "it to be ready")
        assert process.end() == 0
    finally:
        process.process.kill()
        process.process.wait()


def test_what_cannot_work_ends_it(api: ApiThread, tmp_path: Path) -> None:
    """With a sentence and what to do, and no trace."""
    process = Process(tmp_path, api, AWS_EC2_METADATA_DISABLED="true", AWS_REGION="us-west-2")
    assert process.process.wait(20) == 1
    assert process.output == (
        "rolecall controller: the base role ARN is not known: AWS_EC2_METADATA_DISABLED is set\n  set --base-role-arn\n"
    )

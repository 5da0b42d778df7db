"""A real ``rolecall webhook serve`` for tests, with a kubeconfig of the test."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from integration.dev_plane import PATIENCE, plain_environment, wait_until
from integration.ports import free_port


def kubeconfig(path: Path, server: str, user: dict[str, str] | None = None, **cluster: str) -> Path:
    """Write one of a server and a user."""
    found = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(json.dumps(found))
    return path


class WebhookProcess(AbstractContextManager["WebhookProcess"]):
    """One process on loopback. Leaving it ends it; `lines` are those of its log."""

    def __init__(self, directory: Path, config: Path, *flags: str, program: str = "rolecall", env: Any = None) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self._log = directory / f"webhook-{self.port}.log"
        words = ["rolecall", "webhook", "serve"] if program == "rolecall" else [program]
        places = [f"--port={self.port}", f"--metrics-port={self.metrics_port}", "--bind-address=127.0.0.1"]
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [*words, f"--kubeconfig={config}", "--shutdown-delay=0s", *places, *flags],
                env=plain_environment(directory) | (env or {}),
                stdin=subprocess.DEVNULL,
                stderr=out,
                stdout=out,
            )

    @property
    def url(self) -> str:
        """Where reviews are sent."""
        return f"https://127.0.0.1:{self.port}/mutate"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    @property
    def output(self) -> str:
        """All that it printed."""
        return self._log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [line for line in self.lines if line["event"] == name]

    def view(self, path: str) -> tuple[int, str]:
        """Return status and body of a page of the metrics port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as fault:
            return fault.code, fault.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> WebhookProcess:
        """Wait until it says that it is ready."""
        wait_until(lambda: self.view("/readyz")[0] == 200 or self.process.poll() is not None, "the webhook to be ready")
        assert self.process.poll() is None, self.output
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stop() and kind is None:
            raise AssertionError(self.output)


def review(account: str, namespace: str = "carts", name: str = "carts-0") -> bytes:
    """Return the review of a new pod."""
    pod = {"metadata": {"name": name}, "spec": {"serviceAccountName": account, "containers": [{"name": "main"}]}}
    request = {
        "uid": name,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": namespace,
        "object": pod,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()

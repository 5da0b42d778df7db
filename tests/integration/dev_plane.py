"""A real ``rolecall dev`` for tests: its own process, state directory and ports, and unmodified clients around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "examples" / "evolution" / "setup.sh"
ACCOUNT = "123456789012"
CLUSTER = "eks-pod-identity-demo"
POD_ROLE = f"{CLUSTER}-role"
CARTS_ROLE = f"{CLUSTER}-carts-dynamo"
PATIENCE = 30.0


def role_arn(name: str) -> str:
    """Return the ARN of a role of the plane's account."""
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def plain_environment(home: Path) -> dict[str, str]:
    """Return the environment of somebody who has never heard of AWS: no ``AWS_*``, a home of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ROLECALL_", "PYTEST"))}
    path = f"{ROOT / '.venv' / 'bin'}:{kept.get('PATH', os.defpath)}"
    return kept | {"PATH": path, "HOME": str(home), "NODE_NO_WARNINGS": "1", "PYTHONWARNINGS": "error"}


@dataclass
class DevPlane:
    """One plane. `home` is the home directory of whoever uses it."""

    state: Path
    home: Path
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] = field(init=False)
    url: str = ""
    agent_url: str = ""
    imds_url: str = ""

    def start(self) -> DevPlane:
        """Start it and wait until it says that it is ready; ports are the system's choice."""
        listen = ["--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--imds-listen", "127.0.0.1:0"]
        with (self.state.parent / f"{self.state.name}.out").open("ab") as out:
            self.process = subprocess.Popen(
                ["rolecall", "dev", "--state-dir", str(self.state), *listen, *self.flags],
                env=plain_environment(self.home),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_until(self._ready, f"rolecall dev to serve; it said: {self.output()}")
        return self

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"rolecall dev ended: {self.output()}"
        try:
            found = json.loads((self.state / "plane.json").read_bytes())
            self.url, self.agent_url, self.imds_url = found["url"], found["agent_url"], found["imds_url"]
            with urllib.request.urlopen(f"{self.url}/_rolecall/readyz", timeout=2) as answer:
                return answer.status == 200 and found["pid"] == self.process.pid
        except (OSError, ValueError):
            return False

    def output(self) -> str:
        """Return all that it printed so far."""
        path = self.state.parent / f"{self.state.name}.out"
        return path.read_text() if path.exists() else ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it by a signal; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a shell that has sourced the plane's ``env`` file."""
        script = f'set -e; . "{self.state}/env"; env -0'
        base = plain_environment(self.home)
        found = subprocess.run(["bash", "-c", script], env=base, capture_output=True, check=True)
        return dict(entry.split("=", 1) for entry in found.stdout.decode().split("\0") if entry)

    def shell(self, *command: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run a command as in a sourced shell; its output is text."""
        options = {"env": self.environment, "capture_output": True, "text": True, "timeout": PATIENCE, "cwd": ROOT}
        return subprocess.run(command, check=False, **(options | kwargs))

    def aws(self, *words: str) -> dict[str, object]:
        """Run the AWS CLI as admin and return its JSON; it must succeed."""
        done = self.shell("aws", *words, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def run_as(self, namespace: str, account: str, *command: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run a program under ``rolecall run``; options of it may come first, before ``--``."""
        options = list(command[: command.index("--")]) if "--" in command else []
        words = command[len(options) + 1 :] if "--" in command else command
        return self.shell("rolecall", "run", "-n", namespace, "-s", account, *options, "--", *words, **kwargs)

    def keys(self, name: str = "credentials") -> dict[str, str]:
        """Return the access key of a credentials file of the state directory, as boto3's keyword arguments."""
        found = dict(line.split(" = ", 1) for line in (self.state / name).read_text().splitlines() if " = " in line)
        return {key: found[key] for key in ("aws_access_key_id", "aws_secret_access_key")}

    def client(self, service: str, **options: object):
        """Return a boto3 client of the admin, or of the keys given."""
        import boto3

        keys = self.keys() if "aws_access_key_id" not in options else {}
        return boto3.session.Session().client(
            service, endpoint_url=self.url, region_name="us-west-2", **(keys | options)
        )


def wait_until(condition: object, what: str, patience: float = PATIENCE) -> None:
    """Wait for something that another process brings about; fail, saying what, where it never comes."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.03)

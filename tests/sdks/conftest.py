"""One node for all tests of this folder: the agent at its real address, and the SDKs that ask it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest

from integration.dev_plane import plain_environment, wait_until
from sdks.certificates import Authority
from sdks.namespace import V4, V6, Namespace, new_namespace
from sdks.street import EKS_AUTH

STREET = Path(__file__).with_name("street.py")
URL = f"http://{V4}/v1/credentials"


@dataclass
class Program:
    """A program of the namespace that answers each line with a line of JSON."""

    process: subprocess.Popen[str]
    complaints: Path

    def ask(self, line: str) -> dict[str, object]:
        """Send a line and return the answer."""
        self.say(line)
        return self.answer()

    def say(self, line: str) -> None:
        """Send a line; fail where nobody reads it any more."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self) -> dict[str, object]:
        """Return the next line of JSON."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(("{", '"')):
                return json.loads(line)
        raise self._ended()

    def end(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):  # what it was told and did not read
            self.process.communicate()

    def _ended(self) -> AssertionError:
        return AssertionError(f"{self.process.args} ended: {self.complaints.read_text()[-2000:]}")


@dataclass
class Client:
    """An SDK at work in a pod, and the pod's token file."""

    program: Program
    token_file: Path
    number: int = 0

    def give(self, answer: int = 200, code: str = "", life: float = 3600) -> str:
        """Put a new token where kubelet would, one that EKS Auth answers so; return it."""
        self.number += 1
        claims = {"iss": "https://issuer", "exp": int(time.time()) + 3600, "jti": f"{self.token_file}-{self.number}"}
        token = jwt.encode(claims | {"answer": answer, "code": code, "life": life}, "k" * 64, algorithm="HS256")
        fresh = self.token_file.with_suffix(".new")
        fresh.write_text(token)  # without a newline: most SDKs would send it, or refuse it
        fresh.rename(self.token_file)
        return token

    def load(self) -> dict[str, object]:
        """Get credentials by a new default chain."""
        return self.program.ask("load")

    def again(self) -> dict[str, object]:
        """Get them by the chain that is there, which may hold some."""
        return self.program.ask("again")


@dataclass
class Node:
    """The node. `replies` counts the agent's, by status."""

    namespace: Namespace
    street: Program
    directory: Path
    stack: ExitStack
    clients: dict[tuple[str, str], Client] = field(default_factory=dict)

    def client(self, name: str, command: Callable[[], list[str]], url: str = URL, **more: str) -> Client:
        """Return the SDK's client that asks at `url`, started when it is first needed."""
        key = (name, f"{url} {more}")
        if key not in self.clients:
            words = command()
            token_file = self.directory / f"token-{len(self.clients)}"
            pod = {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file),
                "AWS_REGION": "us-west-2",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            self.clients[key] = Client(self.started(f"{name}-{len(self.clients)}", words, pod | more), token_file)
        return self.clients[key]

    def started(self, name: str, words: list[str], more: Mapping[str, str]) -> Program:
        """Start a program inside; it ends with the tests."""
        complaints = self.directory / f"{name}.err"
        with complaints.open("w") as file:
            process = subprocess.Popen(
                self.namespace.inside(*words),
                env=plain_environment(self.directory) | more,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        program = Program(process, complaints)
        self.stack.callback(program.end)
        return program

    @property
    def replies(self) -> dict[int, int]:
        """The number of the agent's replies so far, by status."""
        return {int(code): number for code, number in self.street.ask("replies").items()}

    def replies_since(self, before: Mapping[int, int]) -> dict[int, int]:
        """Return how many more there are."""
        now = self.replies
        return {code: now[code] - before.get(code, 0) for code in now if now[code] != before.get(code, 0)}


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A namespace with the agent on port 80 of 169.254.170.23, and of fd00:ec2::23 where there is IPv6."""
    directory = tmp_path_factory.mktemp("node")
    with new_namespace() as namespace, ExitStack() as stack:
        authority, other = Authority("trusted"), Authority("unknown")
        trusted = namespace.files / "ssl" / "certs" / "ca-certificates.crt"
        trusted.parent.mkdir(parents=True)
        trusted.write_bytes(authority.certificate)
        for name, one in (("good", authority), ("other", other)):
            (directory / f"{name}.pem").write_bytes(one.issue(V4))
        node = Node(namespace, None, directory, stack)  # type: ignore[arg-type]
        pems = [str(directory / "good.pem"), str(directory / "other.pem")]
        node.street = node.started("street", [sys.executable, str(STREET), *pems], {})
        assert node.street.answer() == "serving"
        keys = {"AWS_ACCESS_KEY_ID": "AKIANODE", "AWS_SECRET_ACCESS_KEY": "x"}
        flags = ["-c", "prod", "--endpoint", f"http://127.0.0.1:{EKS_AUTH}", "--region", "us-west-2"]
        for address in (V4, V6) if namespace.has_ipv6 else (V4,):
            flags += ["-b", address]
        agent = node.started("agent", [sys.executable, "-m", "rolecall.daemons.agent", "serve", *flags], keys)

        def serving() -> bool:
            assert agent.process.poll() is None, agent.complaints.read_text()
            return "agent.serving" in agent.complaints.read_text()

        wait_until(serving, "the agent to serve")
        yield node

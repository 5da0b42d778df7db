"""The running agent stays small: it has none of the heavy libraries in memory, whichever road it has taken.

One agent is run for real: it binds its doors, answers a pod out of EKS Auth (a stand-in), refuses a bad token, is
scraped and stopped; then it says what it has imported. A second look follows every import statement that the
agent can reach, also those in functions that this run did not call.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from house.source import SRC

HEAVY = frozenset({"boto3", "botocore", "aiohttp", "requests", "pydantic", "starlette", "lightkube", "cryptography"})
LARGE = frozenset({"email", "http.client", "shutil", "lzma", "bz2"})
"""Of the standard library, a megabyte together; the command line has it in memory, the agent as a module has not."""

ENTRIES = {
    "module": "import runpy; runpy.run_module('rolecall.daemons.agent', run_name='__main__')",
    "command": "sys.argv.insert(1, 'agent'); from rolecall.cli.main import main; main()",
}
RUN = "import atexit, sys\natexit.register(lambda: print(*sorted(sys.modules), sep='\\n'))\n"

# The answer of AssumeRoleForPodIdentity, all members required (EKS Auth API Reference).
ANSWER = {
    "subject": {"namespace": "demo-ns", "serviceAccount": "demo-sa"},
    "audience": "pods.eks.amazonaws.com",
    "podIdentityAssociation": {
        "associationArn": "arn:aws:eks:us-west-2:123456789012:podidentityassociation/demo/a-abcdefghijklmnop1",
        "associationId": "a-abcdefghijklmnop1",
    },
    "assumedRoleUser": {
        "arn": "arn:aws:sts::123456789012:assumed-role/demo/eks-demo-demo-pod-5af5e7ac",
        "assumeRoleId": "AROAAAAAAAAAAAAAAAAAA:eks-demo-demo-pod-5af5e7ac",
    },
    "credentials": {
        "sessionToken": "not-a-real-session-token",
        "secretAccessKey": "not-a-real-secret-access-key",
        "accessKeyId": "ASIAAAAAAAAAAAAAAAAA",
        "expiration": 4102444800.0,
    },
}


def heavy(modules: Iterable[str]) -> list[str]:
    """Return the heavy libraries among module names."""
    return sorted(HEAVY & {name.partition(".")[0] for name in modules})


class EksAuth(BaseHTTPRequestHandler):
    """Answers every call with the same credentials."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Serve the stand-in, and return its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EksAuth) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def token() -> str:
    """Return a token that looks alive; nobody here verifies its signature."""
    parts = (
        {"alg": "RS256", "kid": "k", "typ": "JWT"},
        {"iss": "https://issuer.example", "aud": ["pods.eks.amazonaws.com"], "exp": 4102444800, "sub": "s"},
    )
    texts = [json.dumps(part).encode() for part in parts] + [b"signature"]
    return ".".join(base64.urlsafe_b64encode(text).rstrip(b"=").decode() for text in texts)


@contextmanager
def running(entry: str, endpoint: str, planted: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an agent that stops with its stdin; yield the process and the address of its door."""
    flags = ["serve", "-c", "demo", "-b", "127.0.0.1", "-p", "0", "--probe-port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{RUN}{planted}\n{entry}", *flags, "--endpoint", endpoint, "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "AWS_REGION": "us-west-2",
            "AWS_ACCESS_KEY_ID": "AKIAAAAAAAAAAAAAAAAA",
            "AWS_SECRET_ACCESS_KEY": "not-a-real-key",
        },
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "agent.serving":
                yield process, event["addresses"][0]
                return
        pytest.fail(f"the agent did not serve:\n{''.join(said)}")
    finally:
        process.kill()
        process.communicate()


def ask(address: str, authorization: str) -> int:
    """Ask for credentials as an SDK does; return the status."""
    request = urllib.request.Request(f"http://{address}/v1/credentials", headers={"Authorization": authorization})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            assert json.load(answer)["AccessKeyId"] == ANSWER["credentials"]["accessKeyId"]
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return refusal.code


def modules_of(entry: str, endpoint: str, planted: str = "") -> list[str]:
    """Return what an agent has imported by the end of a life with a good and a bad request in it."""
    with running(entry, endpoint, planted) as (process, address):
        assert ask(address, token()) == 200
        assert ask(address, "not a token") == 400
        printed, _ = process.communicate("")
        assert process.returncode == 0
    return printed.split()


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_running_agent_has_no_heavy_library(entry: str, endpoint: str) -> None:
    """Neither as a module, as the images start it, nor as `rolecall agent`."""
    modules = modules_of(ENTRIES[entry], endpoint)
    assert {"rolecall.edges.http_client", "rolecall.edges.aws.sigv4", "uvloop", "httptools"} <= {*modules}
    assert heavy(modules) == []
    assert entry == "command" or not LARGE & {*modules}


def test_a_planted_import_is_found(endpoint: str) -> None:
    """An agent that has imported botocore is caught by the same look."""
    assert heavy(modules_of(ENTRIES["module"], endpoint, planted="import botocore.session")) == ["botocore"]


REACH = """
import grimp
graph = grimp.build_graph(
    "rolecall", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
)
print(*graph.find_upstream_modules("rolecall.daemons.agent", as_package=True), sep="\\n")
"""


def reachable(source: Path) -> list[str]:
    """Return everything that the agent's modules import, and what that imports, wherever the statement stands."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, "-c", REACH], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_agent_can_reach_no_heavy_library() -> None:
    """No import statement, lazy ones included, leads from the agent to a heavy library."""
    found = reachable(SRC)
    assert "uvloop" in found  # a lazy import, so those are seen
    assert heavy(found) == []


def test_a_planted_road_is_found(tmp_path: Path) -> None:
    """An import inside a function that no test calls, two modules away, is seen."""
    shutil.copytree(SRC, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "rolecall/edges/limits.py").open("a") as file:
        file.write("\n\ndef planted():\n    from cryptography.hazmat.primitives import hashes\n    return hashes\n")
    assert heavy(reachable(tmp_path)) == ["cryptography"]

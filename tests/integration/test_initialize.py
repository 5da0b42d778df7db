"""``initialize`` against a real kernel, in network namespaces of its own; then the agent at its real address.

What is there is told by the ip command of iproute2. The commands run with the one capability that each needs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest

from integration.dev_plane import ROOT, plain_environment, wait_until

LINK, V4, V6 = "pod-id-link0", "169.254.170.23", "fd00:ec2::23"
PREFIX = "rolecall-link-"
DROP_IN = str(ROOT / ".venv" / "bin" / "eks-pod-identity-agent")
OURS = (str(ROOT / ".venv" / "bin" / "rolecall"), "agent")
HAS_IPV6 = Path("/proc/net/if_inet6").exists()
UPSTREAM = 4500


@dataclass(frozen=True)
class Node:
    """A network namespace. `capabilities` of what runs inside are none but those named; None leaves root's."""

    name: str
    home: Path

    def command(self, *words: str, capability: str | None) -> list[str]:
        """Return the command that runs words inside."""
        only = []
        if capability is not None:
            kept = "-all" + (f",+{capability}" if capability else "")
            only = ["setpriv", "--inh-caps=-all", f"--bounding-set={kept}"]
        return ["ip", "netns", "exec", self.name, *only, *words]

    def run(self, *words: str, capability: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run words inside."""
        command = self.command(*words, capability=capability)
        environment = plain_environment(self.home) | env
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)

    def initialize(self, *flags: str) -> list[dict[str, object]]:
        """Run the command with NET_ADMIN alone; it must succeed. Return its log."""
        done = self.run(*OURS, "initialize", *flags, capability="net_admin")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stderr.splitlines()]

    def ip(self, *words: str) -> list[dict[str, object]]:
        """Return what ip shows."""
        shown = ip("-n", self.name, "-j", *words)
        return json.loads(shown) if shown.strip() else []

    def everything(self) -> list[list[dict[str, object]]]:
        """Return all links, addresses and routes; of addresses, not those that the kernel gives each link itself."""
        links = self.ip("addr")
        for link in links:
            link["addr_info"] = [one for one in link["addr_info"] if one["scope"] != "link"]
        return [links, *(self.ip(family, "route", "show", "table", "main") for family in ("-4", "-6"))]

    def addresses(self) -> list[tuple[object, ...]]:
        """Return the addresses of the agent's link as (address, prefix, scope)."""
        ours = [link for link in self.everything()[0] if link["ifname"] == LINK]
        return [(one["local"], one["prefixlen"], one["scope"]) for link in ours for one in link["addr_info"]]

    def routes(self, family: str = "-4") -> list[tuple[object, ...]]:
        """Return the main table's routes through the agent's link, but for those of the link's own addresses."""
        found = self.ip("-d", family, "route", "show", "table", "main", "dev", LINK)
        return [(one["dst"], one["type"], one["scope"]) for one in found if not str(one["dst"]).startswith("fe80")]


def ip(*words: str) -> str:
    """Run ip; it must succeed."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Make one with nothing but its loopback, and remove it whatever happens; skip where that cannot be."""
    for tool, package in (("ip", "iproute2"), ("setpriv", "util-linux")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} of {package}")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace")
    for line in ip("netns", "list").splitlines():
        left = line.split()[0] if line.split() else ""
        if left.startswith(PREFIX) and not Path(f"/proc/{left.removeprefix(PREFIX)}").exists():
            ip("netns", "del", left)
    name = f"{PREFIX}{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs network namespaces: {done.stderr.strip()}")
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield Node(name, tmp_path)
    finally:
        ip("netns", "del", name)


BOTH = [(V4, 32, "global"), (V6, 128, "global")][: 1 + HAS_IPV6]


def test_it_makes_link_addresses_and_routes_once(node: Node) -> None:
    """With NET_ADMIN alone; the second time changes nothing; --remove leaves what there was before."""
    before = node.everything()
    log = node.initialize()
    assert log[-1]["event"] == "initialize.done"
    (link,) = [link for link in node.ip("-d", "link") if link["ifname"] == LINK]
    assert link["linkinfo"]["info_kind"] in {"dummy", "bridge"}
    assert "UP" in link["flags"]
    assert node.addresses() == BOTH
    # As AWS's agent makes them: unicast, scope universe (ip calls it global), in the main table.
    assert node.routes() == [(V4, "unicast", "global")]
    assert node.routes("-6") == [(V6, "unicast", "global")][:HAS_IPV6]
    assert ip("-n", node.name, "route", "get", V4).startswith(f"local {V4} ")
    once = node.everything()
    assert [event["event"] for event in node.initialize()] == ["initialize.link_found", "initialize.done"]
    assert node.everything() == once
    assert [event["event"] for event in node.initialize("--remove")] == ["initialize.removed"]
    assert node.everything() == before
    assert [event["event"] for event in node.initialize("--remove")] == ["initialize.nothing_to_remove"]


def test_ipv4_alone(node: Node) -> None:
    """``-b 169.254.170.23`` is AWS's switch against IPv6."""
    node.initialize("-b", V4)
    assert node.addresses() == BOTH[:1]
    assert node.routes("-6") == []


def test_what_somebody_else_made_is_used_and_left(node: Node) -> None:
    """A link of AWS's agent, with its address; and a route that leads to another link."""
    ip("-n", node.name, "link", "add", LINK, "type", "bridge")
    ip("-n", node.name, "addr", "add", f"{V4}/32", "dev", LINK)
    node.initialize("-b", V4)
    there = node.everything()
    assert node.addresses() == BOTH[:1]
    assert node.routes() == [(V4, "unicast", "global")]
    assert [event["event"] for event in node.initialize("--remove")] == ["initialize.not_ours"]
    assert node.everything() == there
    ip("-n", node.name, "link", "del", LINK)
    ip("-n", node.name, "route", "add", V4, "dev", "lo")
    done = node.run(*OURS, "initialize", "-b", V4, capability="net_admin")
    assert done.returncode == 2
    assert f"the route to {V4}/32 leads to link number 1, not to {LINK}" in done.stderr
    assert f"ip route delete {V4}/32" in done.stderr


def test_without_the_capability_it_says_which(node: Node) -> None:
    """Exit code 2, under the name of AWS's agent 1; nothing is made."""
    before = node.everything()
    for command, code in ((OURS, 2), ((DROP_IN,), 1)):
        done = node.run(*command, "initialize", capability="")
        assert done.returncode == code
        assert "Operation not permitted" in done.stderr
        assert "NET_ADMIN" in done.stderr
        assert "Traceback" not in done.stderr
    assert node.everything() == before


@dataclass
class AgentOnNode:
    """The agent under the name of AWS's agent, with its standard addresses and ports, in front of a fake EKS Auth."""

    node: Node
    events: list[dict[str, object]] = field(default_factory=list)

    def boto3(self, host: str) -> dict[str, str]:
        """Return the credentials that boto3 finds with the variables that the webhook sets."""
        token = self.node.home / "token"
        token.write_text(jwt.encode({"iss": "https://issuer"}, "k" * 64, algorithm="HS256"))
        done = self.node.run(
            *(sys.executable, "-c", _BOTO3),
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://{host}/v1/credentials",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(token),
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def get(self, address: str) -> tuple[int, str]:
        """Return status and body of an answer to a program inside."""
        done = self.node.run(sys.executable, "-c", _GET, f"http://{address}")
        status, _, body = done.stdout.partition("\n")
        assert done.returncode == 0, done.stderr
        return int(status), body


_BOTO3 = """
import boto3, json
found = boto3.Session().get_credentials()
print(json.dumps({"method": found.method, **found.get_frozen_credentials()._asdict()}))
"""
_GET = """
import sys, urllib.request
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=20) as answer:
    print(answer.status)
    print(answer.read().decode())
"""


@contextmanager
def agent(node: Node, *flags: str) -> Iterator[AgentOnNode]:
    """Run an EKS Auth and an agent inside, with NET_BIND_SERVICE alone; the agent must end well."""
    upstream = node.command(sys.executable, "-m", "bench.upstream", str(UPSTREAM), capability="")
    words = (DROP_IN, "server", "--cluster-name", "demo", "--endpoint", f"http://127.0.0.1:{UPSTREAM}", *flags)
    env = plain_environment(node.home) | {
        "AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIANODE", "AWS_SECRET_ACCESS_KEY": "x",
    }  # fmt: skip
    serve = node.command(*words, capability="net_bind_service")
    found = AgentOnNode(node)
    with (
        subprocess.Popen(upstream, env=env, cwd=ROOT) as behind,
        subprocess.Popen(serve, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            for line in process.stderr:
                found.events.append(json.loads(line) if line.startswith("{") else {"event": line})
                if found.events[-1]["event"] == "agent.serving":
                    break
            else:
                pytest.fail(f"it does not serve: {found.events}")
            wait_until(lambda: _listens(node), "the fake EKS Auth to listen")
            yield found
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            behind.kill()


def _listens(node: Node) -> bool:
    return f":{UPSTREAM} " in node.run("ss", "-Hltn").stdout


def test_boto3_gets_credentials_at_the_standard_address(node: Node) -> None:
    """Port 80 of the link-local addresses, made by initialize; the agent needs NET_BIND_SERVICE alone."""
    node.initialize()
    with agent(node, "--rotate-credentials", "-v", "info") as served:
        for host in (V4, f"[{V6}]")[: 1 + HAS_IPV6]:
            found = served.boto3(host)
            assert (found["method"], found["access_key"]) == ("container-role", "ASIAIOSFODNN7EXAMPLE")
        status, body = served.get("127.0.0.1:2703/readyz")
        assert (status, V6 in json.loads(body)["not_bound"]) == (200, not HAS_IPV6)
    ignored = [event["flag"] for event in served.events if event["event"] == "agent.flag_ignored"]
    assert ignored == ["--rotate-credentials"]


def test_without_ipv6_it_serves_ipv4_and_says_so(node: Node) -> None:
    """Log of both commands, readiness and metric; ready all the same."""
    for place in ("all", "default"):
        off = f"echo 1 > /proc/sys/net/ipv6/conf/{place}/disable_ipv6"
        if HAS_IPV6 and node.run("sh", "-c", off).returncode:
            pytest.skip("needs a writable /proc/sys, to turn IPv6 off")
    log = node.initialize()
    assert [event["host"] for event in log if event["event"] == "initialize.no_ipv6"] == [V6]
    assert node.addresses() == BOTH[:1]
    with agent(node) as served:
        assert served.boto3(V4)["access_key"] == "ASIAIOSFODNN7EXAMPLE"
        status, body = served.get("127.0.0.1:2703/readyz")
        ready = json.loads(body)
        assert (status, ready["ready"], ready["doors"], list(ready["not_bound"])) == (200, True, [f"{V4}:80"], [V6])
        metrics = served.get("127.0.0.1:2705/metrics")[1].splitlines()
        assert f'rolecall_agent_door_bound{{host="{V4}"}} 1' in metrics
        assert f'rolecall_agent_door_bound{{host="{V6}"}} 0' in metrics
    assert [event["host"] for event in served.events if event["event"] == "agent.not_bound"] == [V6]

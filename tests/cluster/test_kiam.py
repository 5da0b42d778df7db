"""kiam in two processes at a real API server: two nodes, an agent on each, one server between them and STS."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from cluster.control_plane import ControlPlane
from integration.dev_plane import ACCOUNT, DevPlane, plain_environment, wait_until
from integration.ports import free_port
from sdks.certificates import Authority

BASE = f"arn:aws:iam::{ACCOUNT}:role/"
ROLES = "/latest/meta-data/iam/security-credentials/"
CARTS, WEB, SDK = "127.0.0.5", "127.0.0.6", "127.0.0.1"


@dataclass
class Process:
    """A program of ours and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()


@dataclass
class Street:
    """What the tests walk through: `doors` are the agents' metadata doors, by node."""

    plane: DevPlane
    control: ControlPlane
    namespace: str
    server: str
    doors: dict[str, int]
    home: Path

    def ask(self, node: str, address: str, path: str) -> tuple[int, str]:
        """Return what whoever is at this address is answered by the agent of a node."""
        connection = http.client.HTTPConnection("127.0.0.1", self.doors[node], timeout=30, source_address=(address, 0))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:  # it is not there yet
            return 0, ""
        finally:
            connection.close()

    def annotate(self, permitted: str) -> None:
        """Have the namespace permit this expression."""
        change = {"metadata": {"annotations": {"iam.amazonaws.com/permitted": permitted}}}
        self.control.admin.patch(f"/api/v1/namespaces/{self.namespace}", change)

    def pod(self, name: str, node: str, ip: str, role: str = "") -> None:
        """Start a pod, as far as an API server knows."""
        notes = {"iam.amazonaws.com/role": role} if role else {}
        containers = [{"name": "main", "image": "example.invalid/image:1"}]
        meta = {"name": name, "annotations": notes}
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self.control.admin.create(pods, {"metadata": meta, "spec": {"nodeName": node, "containers": containers}})
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        self.control.admin.patch(f"{pods}/{name}/status", {"status": status})


@pytest.fixture(scope="module")
def street(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    home = tmp_path_factory.mktemp("kiam")
    plane = DevPlane(home / "state", home).start()
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    for role in ("carts", "web", "sdk"):
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        plane.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=document)
    namespace = control_plane.namespace("kiam")
    found = Street(plane, control_plane, namespace, f"127.0.0.1:{free_port()}", {}, home)
    found.annotate(".*")
    for node in ("kiam-a", "kiam-b"):
        control_plane.node(node)
    certificates(home)
    running = [start(home, "server", *server_flags(found), env=aws(plane))]
    try:
        running += [agent(found, node) for node in ("kiam-a", "kiam-b")]
        found.pod("carts", "kiam-a", CARTS, "carts")
        found.pod("web", "kiam-b", WEB, f"{BASE}web")
        found.pod("sdk", "kiam-a", SDK, "/sdk")
        wait_until(
            lambda: found.ask("kiam-a", CARTS, "/health?deep=1")[0] == 200, "the agent, and the server behind it"
        )
        wait_until(lambda: found.ask("kiam-a", CARTS, ROLES) == (200, "carts"), "the server to know its pods")
        yield found
        for one in reversed(running):
            one.process.send_signal(signal.SIGTERM)
            assert one.process.wait(30) == 0, one.output
            assert "Traceback" not in one.output
    finally:
        for one in running:
            one.process.kill()
            one.process.wait(30)
        plane.stop()


def certificates(home: Path) -> None:
    authority = Authority("kiam")
    (home / "ca.pem").write_bytes(authority.certificate)
    (home / "server.pem").write_bytes(authority.issue("127.0.0.1", "kiam-server"))
    (home / "agent.pem").write_bytes(authority.issue(user="Kiam Agent"))


def tls(home: Path, whose: str) -> list[str]:
    return [f"--cert={home / whose}.pem", f"--key={home / whose}.pem", f"--ca={home / 'ca.pem'}"]


def aws(plane: DevPlane) -> dict[str, str]:
    keys = {name.upper(): value for name, value in plane.keys().items()}
    return keys | {"AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL_STS": plane.url}


def server_flags(street: Street) -> list[str]:
    control = street.control
    control.service_account(street.namespace, "kiam-server")
    control.service_account(street.namespace, "kiam-agent")
    config = control.allow(
        street.namespace,
        "kiam-server",
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    )
    who = f"--agent-service-account={street.namespace}/kiam-agent"
    return [
        "--prefetch=50",
        *tls(street.home, "server"),
        f"--bind={street.server}",
        f"--kubeconfig={config}",
        f"--role-base-arn={BASE}",
        who,
    ]


def agent(street: Street, node: str, *, account: str = "kiam-agent", door: str = "") -> Process:
    """Start an agent on a node: a pod there whose token it shows."""
    name = f"agent-{door or node}"
    containers = [{"name": "main", "image": "example.invalid/image:1"}]
    pods = f"/api/v1/namespaces/{street.namespace}/pods"
    spec = {"nodeName": node, "serviceAccountName": account, "containers": containers, "hostNetwork": True}
    pod = street.control.admin.create(pods, {"metadata": {"name": name}, "spec": spec})
    street.control.admin.patch(f"{pods}/{name}/status", {"status": {"phase": "Running"}})
    token = street.home / f"{name}.token"
    token.write_text(street.control.token(street.namespace, account, pod=pod))
    street.doors[door or node] = free_port()
    flags = ["--host=127.0.0.1", f"--port={street.doors[door or node]}", f"--server-address={street.server}"]
    return start(street.home, "agent", *tls(street.home, "agent"), *flags, f"--token-file={token}", name=name)


def start(home: Path, command: str, *flags: str, env: dict[str, str] | None = None, name: str = "") -> Process:
    log = home / f"{name or command}.log"
    with log.open("wb") as out:
        environment = plain_environment(home) | {"AWS_EC2_METADATA_DISABLED": "true"} | (env or {})
        process = subprocess.Popen(["kiam", command, *flags], env=environment, stdout=out, stderr=out)
    return Process(process, log)


def events(street: Street, pod: str) -> list[tuple[str, str]]:
    found = street.control.admin.get(f"/api/v1/namespaces/{street.namespace}/events")["items"]
    return [(one["reason"], one["message"]) for one in found if one["involvedObject"]["name"] == pod]


def test_a_pod_gets_its_own_role(street: Street) -> None:
    """Its name first, then its credentials, which STS knows as the role's session."""
    assert street.ask("kiam-a", CARTS, ROLES) == (200, "carts")
    status, text = street.ask("kiam-a", CARTS, f"{ROLES}carts")
    assert status == 200, text
    found = json.loads(text)
    keys = {"aws_access_key_id": found["AccessKeyId"], "aws_secret_access_key": found["SecretAccessKey"]}
    who = street.plane.client("sts", **keys, aws_session_token=found["Token"]).get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/carts/kiam-kiam"
    assert street.ask("kiam-b", WEB, f"{ROLES}{BASE}web")[0] == 200


def test_an_unmodified_sdk(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's own provider, with session tokens and a role that is annotated with a slash."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{street.doors['kiam-a']}")
    monkeypatch.setenv("HOME", str(street.home))
    session = boto3.session.Session()
    assert session.get_credentials().method == "iam-role"
    who = session.client("sts", endpoint_url=street.plane.url, region_name="us-west-2").get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/sdk/kiam-kiam"


def test_an_agent_is_told_nothing_of_another_nodes_pods(street: Street) -> None:
    """With kiam one agent's certificate opened every pod's role."""
    status, text = street.ask("kiam-a", WEB, ROLES)
    assert (status, "pod not found" in text) == (500, True)
    status, text = street.ask("kiam-a", WEB, f"{ROLES}web")
    assert (status, "no pod found" in text) == (500, True)
    assert "kiam.other_node" in (street.home / "server.log").read_text()


def test_a_token_of_another_account_is_no_agents(street: Street) -> None:
    """It has the agents' certificate, and asks for a pod of its own node."""
    one = agent(street, "kiam-a", account="default", door="stranger")
    try:
        wait_until(lambda: street.ask("stranger", CARTS, "/ping") == (200, "pong"), "the door")
        status, text = street.ask("stranger", CARTS, ROLES)
        assert (status, "carts" in text) == (500, False)
        assert "no-agent" in (street.home / "server.log").read_text()
    finally:
        one.process.terminate()
        assert one.process.wait(30) == 0


def test_the_namespace_has_the_last_word_and_the_pod_is_told(street: Street) -> None:
    """From one request to the next; kubectl describe shows why."""
    street.annotate("nothing-of-this")
    wait_until(lambda: street.ask("kiam-a", CARTS, f"{ROLES}carts")[0] == 500, "the namespace's word")
    status, text = street.ask("kiam-a", CARTS, f"{ROLES}carts")
    assert (status, text) == (500, "error fetching credentials: forbidden by policy\n")
    why = "failed assuming role \"carts\": namespace policy expression 'nothing-of-this' forbids role 'carts'"
    wait_until(lambda: ("KiamRoleForbidden", why) in events(street, "carts"), "the Event")
    street.annotate(".*")
    wait_until(lambda: street.ask("kiam-a", CARTS, f"{ROLES}carts")[0] == 200, "the namespace's other word")


def test_a_refusal_of_sts_is_told(street: Street) -> None:
    street.pod("lost", "kiam-a", "127.0.0.8", "no-such-role")
    status, text = street.ask("kiam-a", "127.0.0.8", f"{ROLES}no-such-role")
    assert (status, "AccessDenied" in text) == (500, True)
    wait_until(lambda: [reason for reason, _ in events(street, "lost")] == ["KiamCredentialError"], "the Event")


def test_a_pod_that_is_quicker_than_its_event_is_waited_for(street: Street) -> None:
    """Twenty that ask in the moment in which the API server has their address."""
    for number in range(20):
        address = f"127.0.1.{number + 1}"
        street.pod(f"quick-{number}", "kiam-a", address, "carts")
        assert street.ask("kiam-a", address, ROLES) == (200, "carts")
    street.control.admin.delete(f"/api/v1/namespaces/{street.namespace}/pods/quick-0")
    wait_until(lambda: street.ask("kiam-a", "127.0.1.1", f"{ROLES}carts")[0] == 500, "the end of the pod")
    street.pod("reused", "kiam-a", "127.0.1.1", "web")
    assert street.ask("kiam-a", "127.0.1.1", ROLES) == (200, "web")
    assert street.ask("kiam-a", "127.0.1.1", f"{ROLES}carts")[0] == 500


def test_a_new_pods_role_is_there_before_it_asks(street: Street) -> None:
    """The server fetches it, at the rate that it was told."""
    street.pod("ahead", "kiam-b", "127.0.2.1", "carts")
    wait_until(lambda: "event=imds.issued peer=127.0.2.1" in (street.home / "server.log").read_text(), "the role")
    assert street.ask("kiam-b", "127.0.2.1", f"{ROLES}carts")[0] == 200


def test_its_health(street: Street) -> None:
    flags = [*tls(street.home, "agent"), f"--server-address={street.server}"]
    env = plain_environment(street.home)
    done = subprocess.run(["kiam", "health", *flags], env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    nowhere = [*tls(street.home, "agent"), f"--server-address=127.0.0.1:{free_port()}", "--timeout=200ms"]
    done = subprocess.run(
        ["kiam", "health", *nowhere], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1

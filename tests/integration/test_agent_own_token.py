"""An agent that asks Rolecall's own server with its service-account token, and with a client's certificate."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from integration.dev_plane import DevPlane, role_arn, wait_until
from integration.edges.authority import Authority
from integration.test_agent_process import HERE, AgentProcess, agent, get, refused

AGENT = ("kube-system", "rolecall-agent")
POD = ("team", "sa")
TRUST = {"Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}


@dataclass
class Cluster:
    """A cluster of a plane that takes an agent's own token."""

    plane: DevPlane

    def api(self, path: str, **body: object) -> dict[str, Any]:
        """Ask in kube-apiserver's place, as admin."""
        url = f"{self.plane.url}/_rolecall/v1/clusters/one/{path}"
        keys = self.plane.keys()
        asked = AWSRequest("POST", url, {"content-type": "application/json"}, json.dumps(body).encode())
        SigV4Auth(Credentials(*keys.values()), "rolecall", "us-west-2").add_auth(asked)
        sent = urllib.request.Request(url, asked.data, dict(asked.headers.items()), method="POST")
        with urllib.request.urlopen(sent, timeout=10) as answer:
            return json.loads(answer.read())

    def pod(self, account: tuple[str, str], node: str = "") -> str:
        """Run a pod, on another node where one is named; return its UID."""
        uid = self.api("pods", namespace=account[0], serviceAccount=account[1])["uid"]
        if node:
            self.change("UPDATE pods SET node = ? WHERE uid = ?", node, uid)
        return str(uid)

    def change(self, statement: str, *values: object) -> None:
        """Change the plane's database behind its back: it has one node only."""
        with contextlib.closing(sqlite3.connect(self.plane.state / "plane.sqlite", timeout=10)) as database:
            database.execute(statement, values)
            database.commit()

    def token(self, account: tuple[str, str], uid: str, audience: str) -> str:
        """Return a token of a pod."""
        words = {"namespace": account[0], "serviceAccount": account[1], "audience": audience}
        return str(self.api("tokens", **words, podUid=uid)["token"])

    def pods_token(self, node: str = "") -> str:
        """Return the token of a new pod that has an association."""
        return self.token(POD, self.pod(POD, node), "pods.eks.amazonaws.com")

    def agents_token(self, audience: str = "rolecall-server", account: tuple[str, str] = AGENT, node: str = "") -> str:
        """Return the token of a new pod of the agent's."""
        return self.token(account, self.pod(account, node), audience)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A plane that takes the token of kube-system/rolecall-agent; a cluster, a role and an association."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "home").mkdir()
    plane = DevPlane(folder / "state", folder / "home", ("--agent-service-account", "/".join(AGENT))).start()
    trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST | {"Effect": "Allow"}]})
    plane.client("iam").create_role(RoleName="pod", AssumeRolePolicyDocument=trust)
    eks = plane.client("eks")
    eks.create_cluster(name="one", resourcesVpcConfig={}, roleArn=role_arn("any"))
    eks.create_pod_identity_association(
        clusterName="one", namespace=POD[0], serviceAccount=POD[1], roleArn=role_arn("pod")
    )
    yield Cluster(plane)
    assert plane.stop() == 0


@contextlib.contextmanager
def running(cluster: Cluster, home: Path, token: str) -> Iterator[tuple[AgentProcess, str, Path]]:
    """Run an agent that has nothing but a token: no key, no region. Yield it, its door and the token's file."""
    file = home / "own-token"
    file.write_text(token)
    flags = ("-c", "one", "--endpoint", cluster.plane.url, "--upstream-token-file", str(file))
    with agent(home, *HERE, *flags, env={}) as started:
        yield started, started.door(), file


def test_its_token_is_enough(cluster: Cluster, tmp_path: Path) -> None:
    """For credentials and for the list of what is revoked; the log has neither token."""
    own, pods = cluster.agents_token(), cluster.pods_token()
    with running(cluster, tmp_path, own) as (started, door, file):
        status, body, _ = get(door, token=pods)
        assert (status, json.loads(body)["AccessKeyId"][:4]) == (200, "ASIA"), body
        signs = started.event("agent.signs_with")
        assert (signs["source"], signs["where"]) == ("service-account-token", str(file))
        started.event("agent.issued")
        answered = "".join(path.read_text() for path in cluster.plane.state.rglob("*.log"))
        assert '"caller":"agent:' in answered.replace('": "', '":"')
        shown = json.dumps(started.events)
        assert not any(name in shown for name in ("revocations_not_offered", "revocations_unknown"))
        assert not any(part in shown for token in (own, pods) for part in token.split(".")[1:])


def test_a_token_that_is_replaced_while_it_runs(cluster: Cluster, tmp_path: Path) -> None:
    """What has no right any more is refused, and its successor is taken; what was issued before is served on."""
    with running(cluster, tmp_path, cluster.agents_token()) as (_, door, file):
        held = cluster.pods_token()
        assert get(door, token=held)[0] == 200
        file.write_text(cluster.agents_token(audience="sts.amazonaws.com"))
        late = cluster.pods_token()
        assert get(door, token=late)[0] == 500
        assert get(door, token=held)[0] == 200
        (tmp_path / "new").write_text(cluster.agents_token())
        (tmp_path / "new").replace(file)
        wait_until(lambda: get(door, token=late)[0] == 200, "the successor")


def forged(cluster: Cluster) -> str:
    """Return what an agent's token says, signed by somebody else, with the issuer's own key id."""
    good = cluster.agents_token()
    said = jwt.decode(good, options={"verify_signature": False})
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    return jwt.encode(said, key, "RS256", {"kid": jwt.get_unverified_header(good)["kid"]})


def ended(cluster: Cluster) -> str:
    """Return the token of an agent whose pod has ended."""
    uid = cluster.pod(AGENT)
    token = cluster.token(AGENT, uid, "rolecall-server")
    cluster.change("UPDATE pods SET heartbeat_by = 0 WHERE uid = ?", uid)
    return token


@pytest.mark.parametrize(
    ("own", "code", "told"),
    [
        (lambda c: c.agents_token("pods.eks.amazonaws.com"), "UnrecognizedClientException", "audience is not"),
        (lambda c: c.agents_token(account=POD), "AccessDeniedException", "service account team/sa runs no agent here"),
        (lambda c: c.token(POD, c.pod(POD), "pods.eks.amazonaws.com"), "UnrecognizedClientException", "audience"),
        (ended, "UnrecognizedClientException", "its pod does not run any more"),
        (forged, "UnrecognizedClientException", "signature"),
    ],
    ids=["audience", "service account", "a pod's own", "ended", "forged"],
)  # fmt: skip
def test_a_token_that_is_not_an_agents(cluster: Cluster, tmp_path: Path, own: Any, code: str, told: str) -> None:
    """500, since it is no fault of the pod's, and what is wrong with it in the agent's log; never the token."""
    token = own(cluster)
    with running(cluster, tmp_path, token) as (started, door, _):
        status, body, _ = get(door, token=cluster.pods_token())
        assert (status, code in body.decode(), told in body.decode()) == (500, True, True), body
        told_of = started.event("agent.not_believed")
        assert (told_of["code"], told_of["level"], told_of["status"]) == (code, "error", 403)
        assert token.split(".")[2] not in json.dumps(started.events) + body.decode()


def test_a_stolen_agents_token_opens_one_nodes_pods(cluster: Cluster, tmp_path: Path) -> None:
    """A pod of another node is refused, though its token is good: an agent that signs is given its credentials."""
    with running(cluster, tmp_path, cluster.agents_token()) as (_, door, _):
        status, body, _ = get(door, token=cluster.pods_token(node="elsewhere"))
        assert (status, b"another node than the agent" in body) == (400, True), body
        assert get(door, token=cluster.pods_token())[0] == 200
    with running(cluster, tmp_path, cluster.agents_token(node="elsewhere")) as (_, door, _):
        assert get(door, token=cluster.pods_token())[0] == 400
        assert get(door, token=cluster.pods_token(node="elsewhere"))[0] == 200
    logged = "".join(path.read_text() for path in cluster.plane.state.rglob("*.log"))
    assert logged.count('"agent-on-another-node"') == 2


def test_an_expired_token(tmp_path: Path, new_plane: Any) -> None:
    """It is said; a pod that is served already does not notice."""
    plane = new_plane("--agent-service-account", "/".join(AGENT), "--max-token-seconds", "3").start()
    plane.client("eks").create_cluster(name="one", resourcesVpcConfig={}, roleArn=role_arn("any"))
    cluster = Cluster(plane)
    with running(cluster, tmp_path, cluster.agents_token()) as (_, door, file):
        ends = jwt.decode(file.read_text(), options={"verify_signature": False})["exp"]
        wait_until(lambda: time.time() > ends, "its end")
        status, body, _ = get(door, token=cluster.pods_token())
        assert (status, b"Token expired" in body) == (500, True), body


@contextlib.contextmanager
def guarded(plane: DevPlane, authority: Authority) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server in front of the plane that asks for a client's certificate, and whose it was shown."""
    shown: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            subject = self.connection.getpeercert()["subject"]  # type: ignore[attr-defined]
            shown.append(dict(pair for part in subject for pair in part)["commonName"])
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: self.headers[name] for name in ("authorization", "content-type") if self.headers[name]}
            asked = urllib.request.Request(plane.url + self.path, body or None, headers, method=self.command)
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    status, said = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, said = error.code, error.read()
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.pair("localhost"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}", shown
        finally:
            server.shutdown()
            thread.join()


def test_a_certificate_that_is_replaced_while_it_runs(cluster: Cluster, tmp_path: Path) -> None:
    """The server sees the new one at the next question, and who has none gets nowhere."""
    authority = Authority(tmp_path)
    used = tmp_path / "tls.crt", tmp_path / "tls.key"

    def rotate(name: str) -> None:
        for made, path in zip(authority.pair(name, client=True), used, strict=True):
            shutil.copy(made, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)

    rotate("first")
    (tmp_path / "own-token").write_text(cluster.agents_token())
    with guarded(cluster.plane, authority) as (url, shown):
        flags = (*HERE, "-c", "one", "--endpoint", url, "--upstream-ca", str(authority.file))
        flags = (*flags, "--upstream-token-file", str(tmp_path / "own-token"))
        pair = ("--upstream-certificate", str(used[0]), "--upstream-key", str(used[1]))
        with agent(tmp_path, *flags, *pair, env={}) as started:
            door = started.door()
            assert get(door, token=cluster.pods_token())[0] == 200
            assert set(shown) == {"first"}
            rotate("second")
            assert get(door, token=cluster.pods_token())[0] == 200
            assert shown[-1] == "second"
        seen = len(shown)
        with agent(tmp_path, *flags, env={}) as started:
            assert get(started.door(), token=cluster.pods_token())[0] == 500
        assert len(shown) == seen


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--upstream-token-file", "/x"), "for Rolecall's own server, and none is named"),
        (("--upstream-token-file", "/x", "--endpoint", "https://eks-auth.us-west-2.api.aws"), "is not for AWS"),
        (("--upstream-token-file", "/x", "--endpoint", "http://rolecall-server:80"), "needs https"),
        (("--upstream-certificate", "/x", "--endpoint", "http://127.0.0.1:1"), "needs https"),
        (("--upstream-key", "/x", "--endpoint", "https://server"), "needs --upstream-certificate"),
        (("--upstream-certificate", "/x", "--endpoint", "https://server"), "the file /x cannot be read"),
        (("--upstream-token-file", "/x", "--endpoint", "https://server"), "the token file /x cannot be read"),
    ],
)
def test_it_does_not_start_where_its_proof_would_go_astray(tmp_path: Path, flags: tuple[str, ...], told: str) -> None:
    """Never to AWS, never in the open."""
    assert told in refused(tmp_path, "-c", "one", *HERE, *flags)

"""EKS Auth is judged by the SDKs' own clients of it: success, error codes, and what they try again."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from integration.dev_plane import CLUSTER, POD_ROLE, DevPlane, plain_environment
from integration.installed import go_program, js_directory
from rolecall.daemons.server.wire import render_error
from rolecall.errors import ServiceError

GO, NODE = pytest.param("go", marks=pytest.mark.go), pytest.param("javascript", marks=pytest.mark.node)
CLIENTS = ["boto3", "aws-cli", GO, NODE]
REQUEST_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
Said = dict[str, object]
pytestmark = pytest.mark.timeout(300)


def environment(plane: DevPlane, endpoint: str) -> dict[str, str]:
    """Return the environment of the node: its own key, and where EKS Auth is."""
    keys = {name.upper(): value for name, value in plane.keys("node-credentials").items()}
    return plain_environment(plane.home) | keys | {
        "AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2", "AWS_ENDPOINT_URL": endpoint,
        "AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "3",
    }  # fmt: skip


def ask(
    client: str, plane: DevPlane, token: str, tmp_path: Path, *, cluster: str = CLUSTER, endpoint: str = ""
) -> Said:
    """Ask EKS Auth by one of the clients; return what it got: an ARN and more, or the code as it understood it."""
    env, file = environment(plane, endpoint or plane.url), tmp_path / "token"
    file.write_text(token)
    if client == "boto3":
        return boto3_says(env, cluster, token)
    if client == "aws-cli":
        words = [
            "aws",
            "eks-auth",
            "assume-role-for-pod-identity",
            "--cluster-name",
            cluster,
            "--token",
            f"file://{file}",
        ]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            return {"code": done.stderr.partition("(")[2].partition(")")[0], "text": done.stderr}
        return fields(json.loads(done.stdout))
    words = [str(go_program())] if client == "go" else ["node", str(js_directory() / "eksauth.mjs")]
    done = subprocess.run(
        [*words, cluster, str(file)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def boto3_says(env: dict[str, str], cluster: str, token: str) -> Said:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    eks_auth = boto3.session.Session().client(
        "eks-auth",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name="us-west-2",
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"mode": "standard", "total_max_attempts": 3}),
    )
    try:
        return fields(eks_auth.assume_role_for_pod_identity(clusterName=cluster, token=token))
    except ClientError as fault:
        code = fault.response["Error"]["Code"]
        return {"code": code if isinstance(fault, getattr(eks_auth.exceptions, code)) else f"{code}, of no class"}


def fields(answer: dict[str, dict[str, str]]) -> Said:
    return {
        "arn": answer["assumedRoleUser"]["arn"],
        "association": answer["podIdentityAssociation"]["associationId"],
        "subject": answer["subject"]["serviceAccount"],
    }


@pytest.fixture
def pod_token(stage: DevPlane) -> Iterator[str]:
    """The token of a pod of demo-ns/demo-sa that runs while the test does."""
    command = ["rolecall", "run", "-n", "demo-ns", "-s", "demo-sa", "--", "sh", "-c"]
    script = 'cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"; echo; read -r _'
    with subprocess.Popen(
        [*command, script], env=stage.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
        running.communicate("\n")


@pytest.mark.parametrize("client", CLIENTS)
def test_credentials(stage: DevPlane, pod_token: str, tmp_path: Path, client: str) -> None:
    """Each gets the role's session, the subject and the association."""
    found = ask(client, stage, pod_token, tmp_path)
    assert f":assumed-role/{POD_ROLE}/eks-" in str(found.get("arn")), found
    assert found["subject"] == "demo-sa"
    assert str(found["association"]).startswith("a-")


@pytest.mark.parametrize("client", CLIENTS)
def test_error_codes(stage: DevPlane, pod_token: str, tmp_path: Path, client: str) -> None:
    """Each sees the code that the service model declares, for what is wrong with the token or the cluster."""
    header, payload, signature = pod_token.split(".")
    unbound = stage.shell("rolecall", "token", "create", "-n", "demo-ns", "-s", "demo-sa").stdout.strip()
    assert ask(client, stage, pod_token, tmp_path, cluster="no-such")["code"] == "ResourceNotFoundException"
    forged = f"{header}.{payload}.{signature[::-1]}"
    assert ask(client, stage, forged, tmp_path)["code"] == "InvalidTokenException"
    assert ask(client, stage, unbound, tmp_path)["code"] == "InvalidTokenException", "its audience is STS's"


@pytest.fixture
def failing() -> Iterator[tuple[str, list[str]]]:
    """An endpoint that answers with errors as our server writes them: its URL, and the codes still to come."""
    codes: list[str] = []
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece, as our server writes them; Go's client loses a body that comes late

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            code, _, status = codes[0].partition(" ")
            asked.append(code)
            reply = render_error(ServiceError(code, "not now", status=int(status)), REQUEST_ID)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def expect(code: str) -> list[str]:
        codes[:], asked[:] = [code], []
        return asked

    yield f"http://127.0.0.1:{server.server_port}", expect
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_tried_again(stage: DevPlane, tmp_path: Path, failing: tuple[str, object], client: str) -> None:
    """Throttling and faults of the server are; what is the client's own fault, or final, is not."""
    endpoint, expect = failing
    for code, again in (
        ("ThrottlingException 429", True),
        ("ServiceUnavailableException 503", True),
        ("InternalServerException 500", True),
        ("AccessDeniedException 400", False),
        ("ExpiredTokenException 400", False),
        ("ResourceNotFoundException 404", False),
    ):
        if (client, code) == ("javascript", "ExpiredTokenException 400"):
            continue  # v2 takes the code for one about its own credentials, whichever service sends it
        asked = expect(code)
        found = ask(client, stage, "a.b.c", tmp_path, endpoint=endpoint)
        assert found.get("code") == code.partition(" ")[0], found
        assert (len(asked) > 1) is again, f"{code}: asked {len(asked)} times"

"""AWS's own webhook, unmodified, asked about the pods of our corpus: what it answers is kept beside its fixtures.

`ROLECALL_AWS_WEBHOOK` names its binary (tests/corpus/aws-webhook/README.md); `ROLECALL_RECORD` has its answers written
anew. Without a binary nothing is lost: the unit tests hold our webhook to the answers that are kept.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Object
from cluster.control_plane import HOST, ControlPlane
from integration.dev_plane import wait_until
from integration.ports import free_port
from sdks.certificates import Authority
from unit.daemons.webhook.test_aws_answers import ANSWERS, CORPUS, still

BINARY = os.environ.get("ROLECALL_AWS_WEBHOOK", "")
SETTINGS: dict[str, list[str]] = {
    "{}": [],
    '{"region": "us-west-2", "sts_regional": true}': ["--aws-default-region=us-west-2", "--sts-regional-endpoint"],
    '{"sts_regional": true}': ["--sts-regional-endpoint"],
    '{"expiration": 3600}': ["--token-expiration=3600"],
    '{"full_uri": "http://[fd00:ec2::23]/v1/credentials"}': [
        "--container-credentials-full-uri=http://[fd00:ec2::23]/v1/credentials"
    ],
    '{"prefix": "iam.example"}': ["--annotation-prefix=iam.example"],
}
"""The rules of a case, and the flags that say the same to AWS's webhook."""


def cases(rules: str) -> dict[str, Any]:
    """Return the cases of the corpus that these rules, and no ConfigMap, decide."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted((CORPUS / "pods").glob("*.json"))}
    return {
        name: case
        for name, case in found.items()
        if json.dumps(case.get("rules", {}), sort_keys=True) == rules and "entry" not in case
    }


@contextmanager
def original(plane: ControlPlane, directory: Path, *flags: str) -> Iterator[http.client.HTTPSConnection]:
    """Run AWS's webhook; yield a connection to it."""
    authority = Authority("original")
    (directory / "tls.pem").write_bytes(authority.issue(HOST))
    process, port = started(plane, directory, *flags)
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    connection = http.client.HTTPSConnection(HOST, port, timeout=30, context=context)
    try:
        yield connection
    finally:
        connection.close()
        process.kill()
        process.wait()


def started(plane: ControlPlane, directory: Path, *flags: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start it, and wait until it listens on a port that nobody has taken in the meantime."""
    files = [f"--tls-cert={directory / 'tls.pem'}", f"--tls-key={directory / 'tls.pem'}"]
    where = ["--in-cluster=false", f"--kubeconfig={plane.kubeconfig()}", "--service-account-lookup-grace-period=5s"]
    log = directory / "original.log"
    for _ in range(5):
        port = free_port()
        ports = [f"--port={port}", f"--metrics-port={free_port()}"]
        with log.open("wb") as out:
            process = subprocess.Popen([BINARY, *where, *files, *ports, *flags], stdout=out, stderr=out)
        wait_until(lambda p=port: f"on :{p}\n" in log.read_text(), "AWS's webhook to listen")
        time.sleep(0.2)  # it says so before it tries
        if process.poll() is None:
            return process, port
    raise AssertionError(log.read_text())


def answered(connection: http.client.HTTPSConnection, namespace: str, pod: Object) -> Object:
    """Return whether it allows the pod, and its patch."""
    request = {
        "uid": "1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": namespace,
        "object": pod,
    }
    body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
    connection.request("POST", "/mutate", body, {"content-type": "application/json"})
    response = json.loads(connection.getresponse().read())["response"]
    patch = json.loads(base64.b64decode(response["patch"])) if response.get("patch") else None
    return {"allowed": response["allowed"], "patch": patch}


@pytest.mark.skipif(not BINARY, reason="$ROLECALL_AWS_WEBHOOK names no binary of AWS's webhook")
@pytest.mark.timeout(180)
def test_what_it_answers(control_plane: ControlPlane, tmp_path: Path) -> None:
    found: Object = {}
    for number, (rules, flags) in enumerate(SETTINGS.items()):
        mine = cases(rules)
        places = {name: control_plane.namespace(f"original-{number}") for name in mine}
        listed = []
        for name, case in mine.items():
            account = case["pod"]["spec"].get("serviceAccountName") or "default"
            if case["association"] is not None:
                listed.append({"namespace": places[name], "serviceAccount": account})
            if case["account"] is not None:
                path = f"/api/v1/namespaces/{places[name]}/serviceaccounts"
                control_plane.admin.ask("DELETE", f"{path}/{account}")
                control_plane.service_account(places[name], account, case["account"])
        identities = tmp_path / f"identities-{number}"
        identities.write_text(json.dumps({"identities": listed}))
        with original(control_plane, tmp_path, *flags, f"--watch-container-credentials-config={identities}") as asked:
            found |= {name: still(answered(asked, places[name], case["pod"])) for name, case in mine.items()}
    if os.environ.get("ROLECALL_RECORD"):
        lines = [f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in sorted(found.items())]
        (CORPUS / "aws-webhook" / "answers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return
    assert found == ANSWERS

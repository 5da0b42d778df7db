"""The webhook's reviews over TLS, against nginx which returns such an answer at once; its pace, memory and start."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bench.load import Load, reviews
from bench.paced_reviews import paced
from bench.processes import Running, free_port, needed, started
from rolecall.core.exchange import Request
from rolecall.daemons.webhook.gather import Gatherer
from rolecall.daemons.webhook.reviewer import Reviewer
from rolecall.daemons.webhook.rules import Rules
from rolecall.daemons.webhook.sources.accounts import Account, Accounts
from rolecall.daemons.webhook.sources.look_ups import LookUpRules
from rolecall.edges import entropy
from rolecall.edges.certificates import make_pair
from rolecall.edges.clock import SystemClock
from rolecall.edges.kube.client import KubeClient
from rolecall.edges.telemetry import Log
from rolecall.mechanisms.irsa.inject import PREFIX

FEW, MANY = 500, 100_000
_AMONG = 100  # service accounts that take turns
_NGINX = """
daemon off; worker_processes 1; pid %(dir)s/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; client_body_buffer_size 64k;
  client_body_temp_path %(dir)s; proxy_temp_path %(dir)s; fastcgi_temp_path %(dir)s; uwsgi_temp_path %(dir)s;
  scgi_temp_path %(dir)s;
  ssl_session_tickets off; ssl_session_cache off; ssl_protocols TLSv1.2 TLSv1.3;
  ssl_certificate %(dir)s/tls.pem; ssl_certificate_key %(dir)s/tls.pem;
  server {
    listen 127.0.0.1:%(port)d ssl backlog=4096;
    location = /mutate { default_type application/json; return 200 '%(body)s'; }
  }
}
"""


@dataclass(frozen=True)
class Started:
    """A webhook that knows all service accounts, and the seconds from its start to that."""

    process: Running
    took: float


def review(account: str, number: int) -> bytes:
    """Return the review of a Deployment's pod, with the fields that an API server has filled in by then."""
    mount = {"name": "kube-api-access-x7k2p", "readOnly": True}
    container = {
        "name": "main", "image": "registry.example/shop/carts:1.42.0", "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
        "env": [{"name": "CARTS_TABLE", "value": "carts"}, {"name": "LOG_LEVEL", "value": "info"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
        "volumeMounts": [{**mount, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    }  # fmt: skip
    token = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    taints = [
        {"key": f"node.kubernetes.io/{word}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for word in ("not-ready", "unreachable")
    ]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "carts-5d8f7c9b6d", "controller": True}
    spec = {
        "serviceAccountName": account, "serviceAccount": account, "containers": [container],
        "volumes": [{"name": mount["name"], "projected": {"sources": [token, authority], "defaultMode": 420}}],
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
        "securityContext": {}, "terminationGracePeriodSeconds": 30, "tolerations": taints, "priority": 0,
        "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority",
    }  # fmt: skip
    fields = {"f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {}}}
    metadata = {
        "generateName": "carts-5d8f7c9b6d-", "namespace": "shop", "labels": {"app": "carts"},
        "ownerReferences": [{**owner, "uid": "0b7d6d0e-8a53-4b0c-a3b5-9f3b2f1f4c11", "blockOwnerDeletion": True}],
        "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                           "time": "2026-11-24T08:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}],
    }  # fmt: skip
    user = "system:serviceaccount:kube-system:replicaset-controller"
    request = {
        "uid": f"705ab4f5-6393-11e8-b7cc-{number:012x}", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "shop", "operation": "CREATE",
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"}, "dryRun": False,
        "requestResource": {"group": "", "version": "v1", "resource": "pods"}, "oldObject": None,
        "userInfo": {"username": user, "groups": ["system:serviceaccounts", "system:authenticated"]},
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        "object": {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {}},
    }  # fmt: skip
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).encode()


@contextlib.contextmanager
def webhook(work: Path, accounts: int, *flags: str) -> Iterator[Started]:
    """Run the webhook, in front of a small API server with so many service accounts."""
    api, port = free_port(), free_port()
    kubeconfig = work / "kubeconfig"
    kubeconfig.write_text(json.dumps({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api}"}}],
        "users": [{"name": "u", "user": {}}],
    }))  # fmt: skip
    command = [sys.executable, "-c", "import sys; from rolecall.daemons.webhook.main import main; sys.exit(main())"]
    command += [
        "serve",
        f"--kubeconfig={kubeconfig}",
        f"--tls-cert={work / 'tls.pem'}",
        f"--tls-key={work / 'tls.pem'}",
    ]
    command += ["--bind-address=127.0.0.1", f"--port={port}", "--metrics-port=0", "--shutdown-delay=0s"]
    command += [f"--watch-container-credentials-config={work / 'identities.json'}", *flags]
    words = [sys.executable, "-m", "bench.api_server", str(api), str(accounts)]
    with started("the API server", words, api, core=1):
        begun = time.perf_counter()
        with started("webhook", command, port, env={"PATH": os.environ["PATH"]}) as process:
            first = review("sa-0", 0)
            while not _patched(port, first):  # a review waits until all are known, but not for ever
                pass
            yield Started(process, time.perf_counter() - begun)


def _patched(port: int, body: bytes) -> bool:
    status, text = _post(port, body)
    assert status == 503 or b'"patch"' in text, text
    return status == 200


def _post(port: int, body: bytes) -> tuple[int, bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    try:
        connection.request("POST", "/mutate?timeout=10s", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextlib.contextmanager
def nginx(work: Path, body: str) -> Iterator[Running]:
    """Run nginx with one worker that returns `body` over TLS with the same certificate."""
    port = free_port()
    config = work / "nginx.conf"
    config.write_text(_NGINX % {"dir": work, "port": port, "body": body})
    with started("nginx", ["/usr/sbin/nginx", "-c", str(config), "-p", str(work)], port) as running:
        yield running


def run(rounds: int = 5, seconds: float = 3.0) -> list[str]:
    """Measure, and return the rows of the tables."""
    needed("nginx", "wrk", "taskset")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        kinds = _prepared(work)
        # As agent_door.py measures: without a line a review, of which at most 50 a second are written.
        with webhook(work, FEW, "--verbosity=warn") as quiet:
            rows = _speed(work, quiet.process, kinds, rounds, seconds)
        with webhook(work, FEW) as few:
            rows += ["", "| case | measured | budget |", "|---|---|---|"]
            rows.append(
                f"| IRSA's answer alone, without HTTP and TLS (least of {rounds}) | {_alone(rounds):.0f} µs | |"
            )
            rows += [_paced(few.process, kind, file, seconds * rounds) for kind, file in kinds.items()]
            idle, _ = few.process.memory()
            rows.append(f"| {FEW} service accounts: process to the first pod injected | {few.took * 1000:,.0f} ms | |")
        with webhook(work, MANY) as many:
            full, _ = many.process.memory()
            growth = (full - idle) * 1024 / (MANY - FEW)
            rows.append(
                f"| {MANY:,} of them, each with a role: process to the first pod injected | {many.took:.1f} s | |"
            )
            sizes = f"{idle:.1f}; {full:.1f} MB, {growth:.2f} KB each"
            rows.append(f"| memory (RSS) with {FEW}, after the load; with {MANY:,}; growth | {sizes} | ≤ 1 KB each |")
            rows.append(f"| the most that it was while they were listed | {_highest(many.process):.1f} MB | |")
    return rows


def _prepared(work: Path) -> dict[str, Path]:
    """Write certificate, identities, and reviews of each kind, one a line; return the files of reviews."""
    pair = make_pair(["127.0.0.1"], time.time())
    (work / "tls.pem").write_text(pair.certificate + pair.key.reveal())
    identities = [{"namespace": "shop", "serviceAccount": f"associated-{n}"} for n in range(_AMONG)]
    (work / "identities.json").write_text(json.dumps({"identities": identities}))
    kinds = {"IRSA": "sa", "Pod Identity": "associated", "no role": "plain"}
    files = {}
    for kind, account in kinds.items():
        files[kind] = work / f"{account}.reviews"
        files[kind].write_bytes(b"\n".join(review(f"{account}-{n}", n) for n in range(_AMONG)) + b"\n")
    return files


def _speed(work: Path, ours: Running, kinds: dict[str, Path], rounds: int, seconds: float) -> list[str]:
    body = kinds["IRSA"].read_bytes().splitlines()[0]
    _, answer = _post(ours.port, body)
    rows = [
        f"Reviews of {len(body):,} bytes over TLS 1.3; IRSA's answer has {len(answer):,}, which is what nginx returns."
    ]
    rows += ["", "| case | webhook | nginx | CPU µs/review webhook (min to max) | nginx | p99 ms webhook | nginx |"]
    rows.append("|---|---|---|---|---|---|---|")
    with nginx(work, answer.decode()) as reference:
        for case, kind, connections, close in (
            ("IRSA, 32 connections", "IRSA", 32, False),
            ("IRSA, 1 connection", "IRSA", 1, False),
            ("Pod Identity, 32 connections", "Pod Identity", 32, False),
            ("no role, so the API server is asked: 32 connections", "no role", 32, False),
            ("IRSA, a new connection a review", "IRSA", 32, True),
        ):
            mine, theirs = [], []
            for _ in range(rounds):
                mine.append(_measured(ours, kinds[kind], seconds, connections, close=close))
                theirs.append(_measured(reference, kinds[kind], seconds, connections, close=close))
            errors = sum(load.errors for load, _ in mine)
            assert errors == 0, f"{case}: {errors} errors"
            rows.append(_row(case, mine, theirs))
    return rows


def _alone(rounds: int) -> float:
    """Return the processor time of an answer in µs, in this process, again and again: with all of it in the cache."""
    clock = SystemClock()
    accounts = Accounts(cast(KubeClient, None), prefix=PREFIX, clock=clock, rules=LookUpRules())
    notes = {f"{PREFIX}/role-arn": "arn:aws:iam::123456789012:role/carts"}
    accounts.replace([Account("shop", f"sa-{n}", notes) for n in range(_AMONG)])
    accounts.listed.set()
    gatherer = Gatherer(accounts, f"{PREFIX}/role-arn")
    log = Log("bench")
    answer = Reviewer(Rules(), gatherer, most=1, dice=entropy.dice, clock=clock, log=log)
    headers = (("content-type", "application/json"),)
    asked = [Request("POST", "/mutate?timeout=10s", headers, review(f"sa-{n}", n)) for n in range(_AMONG)] * 10
    spent = []
    for _ in range(rounds):
        before = time.process_time()
        for request in asked:
            answer(request)
        spent.append((time.process_time() - before) / len(asked) * 1e6)
    return min(spent)


def _measured(server: Running, bodies: Path, seconds: float, connections: int, *, close: bool) -> tuple[Load, float]:
    before = server.cpu_seconds()
    load = reviews(server.port, bodies, seconds=seconds, connections=connections, close=close)
    return load, (server.cpu_seconds() - before) / max(1, load.requests) * 1e6


def _row(case: str, mine: list[tuple[Load, float]], theirs: list[tuple[Load, float]]) -> str:
    rates = [statistics.median(load.rate for load, _ in runs) for runs in (mine, theirs)]
    slowest = [statistics.median(load.p99 for load, _ in runs) / 1000 for runs in (mine, theirs)]
    costs = [cost for _, cost in mine]
    return (
        f"| {case} | {rates[0]:,.0f}/s | {rates[1]:,.0f}/s "
        f"| {statistics.median(costs):.0f} ({min(costs):.0f} to {max(costs):.0f}) "
        f"| {statistics.median(cost for _, cost in theirs):.0f} | {slowest[0]:.1f} | {slowest[1]:.1f} |"
    )


def _paced(server: Running, kind: str, bodies: Path, seconds: float) -> str:
    head = "POST /mutate?timeout=10s HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
    requests = [
        f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies.read_bytes().splitlines()
    ]
    before = server.cpu_seconds()
    found = paced(server.port, requests, rate=200.0, seconds=seconds)
    assert found.errors == 0, f"{kind}: {found.errors} were not answered with 200"
    cost = (server.cpu_seconds() - before) / (200.0 * seconds) * 1e6
    return (
        f"| 200 reviews a second, whatever is answered: {kind} | p50 {found.p50:.1f}, p99 {found.p99:.1f}, most "
        f"{found.most:.1f} ms; CPU {cost:.0f} µs | p99 < 10 ms |"
    )


def _highest(process: Running) -> float:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def trial() -> None:
    """See that it can be measured: reviews of each kind for half a second, and wrk for one."""
    needed("wrk", "taskset")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        kinds = _prepared(work)
        with webhook(work, FEW) as started_up:
            print(*(_paced(started_up.process, kind, file, 0.5) for kind, file in kinds.items()), sep="\n")
            load, _ = _measured(started_up.process, kinds["IRSA"], 1.0, 4, close=False)
            print(f"{load.errors} of wrk's {load.requests} were not answered with 200")


if __name__ == "__main__":
    trial()

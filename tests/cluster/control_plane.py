"""A Kubernetes control plane on loopback: etcd and kube-apiserver, without root, ready in seconds.

It has no nodes and no controllers: pods are admitted and stay Pending, and a namespace gets no service account
unless it is made with `namespace`. Everything is in one directory; the processes die with the one that started them.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cluster.api import PATIENCE, Api, Object
from cluster.binaries import dying_with_us
from integration.dev_plane import wait_until
from sdks.certificates import Authority

HOST = "127.0.0.1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# What admission did to whom, and what webhooks noted about it: not what was read, nor the server's own housekeeping.
AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, verbs: [get, list, watch]}
  - {level: None, users: ["system:apiserver"]}
  - {level: Metadata}
"""
# Sockets in our own directory take no ports, and other users of this machine cannot reach them. Nobody dials the peer.
_ETCD = {
    "name": "test",
    "data-dir": "etcd",
    "unsafe-no-fsync": "true",
    "log-level": "warn",
    "listen-client-urls": "unix://etcd.sock",
    "advertise-client-urls": "http://localhost:2379",
    "listen-peer-urls": "unix://peer.sock",
    "initial-advertise-peer-urls": "http://localhost:2380",
    "initial-cluster": "test=http://localhost:2380",
}


class ControlPlane:
    """One control plane. `admin` may do everything; `issuer` is the URL that its tokens name, which anybody may ask."""

    def __init__(self, assets: Path, directory: Path) -> None:
        self._assets = assets
        self.directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ways_in: list[Api] = []
        self._numbers = itertools.count(1)
        self._port = _HeldPort()
        self.url = self.issuer = f"https://{HOST}:{self._port.number}"
        self.authority = Authority("control plane")
        self.ca_file = directory / "ca.pem"
        self.audit_log = directory / "audit.log"
        self.ready_after = 0.0
        self.version = ""

    def start(self) -> ControlPlane:
        """Start both programs and wait until requests are served."""
        began = time.monotonic()
        self._write_files()
        self.admin = self.as_user("admin", "system:masters")
        self._run("etcd", _ETCD)
        self._run("kube-apiserver", self._apiserver())
        wait_until(self.serves, f"kube-apiserver to be ready; its log is {self.directory / 'kube-apiserver.log'}")
        self._publish_discovery()
        self.version = f"Kubernetes {self.admin.get('/version')['gitVersion']}"
        self.ready_after = time.monotonic() - began
        return self

    def kill_api_server(self) -> None:
        """Kill kube-apiserver without a word."""
        process = self._processes["kube-apiserver"]
        process.kill()
        process.wait()
        for api in self._ways_in:
            api.close()

    def revive_api_server(self) -> None:
        """Start it again on what etcd holds. It ends with the thread that calls this; wait for `serves`."""
        self._run("kube-apiserver", self._apiserver())

    def serves(self) -> bool:
        """Return whether requests are served."""
        for name, process in self._processes.items():
            assert process.poll() is None, f"{name} ended:\n{self.log(name)}"
        try:
            return self.admin.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        """Kill both; what they wrote is of no use to anybody."""
        for api in self._ways_in:
            api.close()
        for process in reversed(self._processes.values()):
            process.kill()
            process.wait()
        self._port.close()
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)

    def log(self, name: str = "kube-apiserver", lines: int = 30) -> str:
        """Return the last lines of a program's log."""
        path = self.directory / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def audited(self) -> list[Object]:
        """Return the audit events so far: what was written, and what webhooks noted (``annotations``)."""
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]

    # ---- users ----

    def tls(self, certificate: Path | None = None) -> ssl.SSLContext:
        """Return a context that believes this API server, with a client's certificate if there is one."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def as_user(self, user: str, group: str = "") -> Api:
        """Return the way in of a user with a client certificate."""
        return self._opened(Api(self.url, self.tls(self._certificate(user, group))))

    def as_holder(self, token: str | None) -> Api:
        """Return the way in of whoever holds a token, or of anybody."""
        return self._opened(Api(self.url, self.tls(), token))

    def kubeconfig(self, user: str = "admin", group: str = "system:masters", *, token: str | None = None) -> Path:
        """Write a kubeconfig with a client certificate, or with a token; return where it is."""
        certificate = str(self._certificate(user, group)) if token is None else ""
        who = {"token": token} if token else {"client-certificate": certificate, "client-key": certificate}
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": who}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        return self._write(f"{user.replace(':', '-')}.kubeconfig", json.dumps(config))

    def kubectl(self, *words: str, kubeconfig: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run kubectl; skip where the directory that somebody named holds none."""
        program = self._assets / "kubectl"
        if not program.exists():
            pytest.skip(f"{self._assets} holds no kubectl")
        command = [str(program), f"--kubeconfig={kubeconfig}", *words]
        where = {"cwd": self.directory, "env": {"HOME": str(self.directory), "PATH": os.defpath}}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE, **(where | options)
        )

    # ---- objects ----

    def namespace(self, prefix: str = "test") -> str:
        """Make a namespace with its default service account, as the controller-manager would; return its name."""
        name = f"{prefix}-{next(self._numbers)}"
        self.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
        self.service_account(name, "default")
        return name

    def service_account(self, namespace: str, name: str, annotations: dict[str, str] | None = None) -> Object:
        """Make a service account."""
        body = {"metadata": {"name": name, "annotations": annotations or {}}}
        return self.admin.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", body)

    def allow(self, namespace: str, account: str, *rules: Object) -> Path:
        """Let a service account do what the RBAC rules say, cluster-wide; return a kubeconfig with a token of it."""
        name = f"{namespace}-{account}"
        self.admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
        subject = {"kind": "ServiceAccount", "namespace": namespace, "name": account}
        self._bind(name, name, subject)
        return self.kubeconfig(f"{namespace}:{account}", token=self.token(namespace, account))

    def token(
        self, namespace: str, account: str, *audiences: str, pod: Object | None = None, seconds: int = 3600
    ) -> str:
        """Return a token of a service account (TokenRequest), bound to a pod if one is given."""
        spec: Object = {"audiences": list(audiences), "expirationSeconds": seconds}
        if pod is not None:
            meta = pod["metadata"]
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return str(self.admin.create(path, {"spec": spec})["status"]["token"])

    def pod(self, namespace: str, name: str, account: str = "default", **spec: object) -> Object:
        """Make a pod; return it as it was stored, after admission and defaulting."""
        containers = [{"name": "main", "image": "example.invalid/image:1"}]
        body = {"metadata": {"name": name}, "spec": {"serviceAccountName": account, "containers": containers} | spec}
        return self.admin.create(f"/api/v1/namespaces/{namespace}/pods", body)

    def node(self, name: str) -> Object:
        """Make a node that nothing runs on, so that pods can be bound to it."""
        return self.admin.create("/api/v1/nodes", {"metadata": {"name": name}})

    def install(self, definition: Object) -> None:
        """Install a CustomResourceDefinition and wait until its objects are served."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        spec = self.admin.create(path, definition)["spec"]
        version, plural = next(one["name"] for one in spec["versions"] if one["served"]), spec["names"]["plural"]

        def served() -> bool:
            return self.admin.ask("GET", f"/apis/{spec['group']}/{version}/{plural}?limit=1")[0] == 200

        wait_until(served, f"the {plural} of {spec['group']} to be served")

    # ---- within ----

    def _write_files(self) -> None:
        self.ca_file.write_bytes(self.authority.certificate)
        self._write("serving.pem", self.authority.issue(HOST, "localhost", "kubernetes.default.svc").decode())
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self._write("service-accounts.pem", key.private_bytes(*form).decode())
        self._write("audit-policy.yaml", AUDIT_POLICY)

    def _apiserver(self) -> dict[str, str]:
        return {
            "etcd-servers": _ETCD["listen-client-urls"],
            "bind-address": HOST,
            "secure-port": str(self._port.number),
            "permit-port-sharing": "true",  # with the socket that holds the port for it
            "endpoint-reconciler-type": "none",  # there is no Service to reach it by
            "service-cluster-ip-range": "10.96.0.0/16",
            "tls-cert-file": "serving.pem",
            "tls-private-key-file": "serving.pem",
            "client-ca-file": "ca.pem",
            "authorization-mode": "Node,RBAC",
            "service-account-issuer": self.issuer,
            "service-account-jwks-uri": f"{self.issuer}/openid/v1/jwks",
            "service-account-key-file": "service-accounts.pem",
            "service-account-signing-key-file": "service-accounts.pem",
            "audit-policy-file": "audit-policy.yaml",
            "audit-log-path": "audit.log",
        }

    def _opened(self, api: Api) -> Api:
        self._ways_in.append(api)
        return api

    def _run(self, name: str, settings: dict[str, str]) -> None:
        flags = [f"--{flag}={value}" for flag, value in settings.items()]
        with (self.directory / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                dying_with_us([str(self._assets / name), *flags]),
                cwd=self.directory,
                env={"HOME": str(self.directory), "PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test run, which then stops us
            )

    def _publish_discovery(self) -> None:
        """Let anybody read the issuer's documents, as AWS must be able to."""
        anybody = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:unauthenticated"}
        self._bind("public-discovery", "system:service-account-issuer-discovery", anybody)

    def _bind(self, name: str, role: str, subject: Object) -> None:
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        body = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
        self.admin.create(f"{RBAC}/clusterrolebindings", body)

    def _certificate(self, user: str, group: str) -> Path:
        return self._write(f"{user.replace(':', '-')}.pem", self.authority.issue(user=user, group=group).decode())

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text)
        return path


class _HeldPort:
    """A free port that nobody else is given while it is held: bound, never listened on, and shared with one server."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((HOST, 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

"""An admission webhook of a test: a TLS server on loopback, and its registration with the API server."""

from __future__ import annotations

import base64
import http.server
import itertools
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.api import Object, Refused
from cluster.control_plane import HOST, ControlPlane
from integration.dev_plane import wait_until
from sdks.certificates import Authority

REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
Review = Callable[[Object], list[Object]]
"""A request of an AdmissionReview in, a JSON Patch out."""


@contextmanager
def serving(review: Review, directory: Path) -> Iterator[tuple[str, bytes]]:
    """Serve reviews; yield the URL and the authority to believe, as PEM."""
    authority = Authority("webhook")
    certificate = directory / "webhook.pem"
    certificate.write_bytes(authority.issue(HOST))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            patch = base64.b64encode(json.dumps(review(request)).encode()).decode()
            answer = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
            kind = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
            body = json.dumps(kind | {"response": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"https://{HOST}:{server.server_address[1]}/mutate", authority.certificate
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def registered(
    plane: ControlPlane, url: str, authority: bytes, *namespaces: str, failure_policy: str = "Fail"
) -> Iterator[str]:
    """Have the API server send the pods of these namespaces to a URL, from the first line on; yield the
    registration's name."""
    name = f"pods-of-{'-'.join(namespaces)}"
    chosen = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [*namespaces]}
    webhook = {
        "name": "pods.rolecall.test",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(authority).decode()},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "namespaceSelector": {"matchExpressions": [chosen]},
        "failurePolicy": failure_policy,
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 10,
    }
    plane.admin.create(REGISTRATIONS, {"metadata": {"name": name}, "webhooks": [webhook]})
    try:
        _wait_until_asked(plane, namespaces[0])
        yield name
    finally:
        plane.admin.delete(f"{REGISTRATIONS}/{name}")


def _wait_until_asked(plane: ControlPlane, namespace: str) -> None:
    """The API server knows of a new registration a moment later: its audit log says of each pod whom it asked."""
    numbers = itertools.count()

    def asked() -> bool:
        name = f"probe-{next(numbers)}"
        probe = {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "i"}]}}
        try:
            plane.admin.create(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", probe)
        except Refused as refused:
            return "pods.rolecall.test" in refused.message
        events = (event for event in plane.audited() if event.get("objectRef", {}).get("name") == name)
        return any(key.startswith("mutation.webhook") for event in events for key in event.get("annotations", {}))

    wait_until(asked, "the API server to ask the webhook")

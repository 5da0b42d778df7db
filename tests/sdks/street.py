"""What else is on the node's network in these tests, in one process of the namespace:

- EKS Auth, on port 4500: a token says itself, by its claims, what it is answered with, and each has a key of its own;
- TLS in front of the agent, on ports 443 and 444, with two certificates for 169.254.170.23;
- a door that refuses each token once with 429 and ``Retry-After: 1``, on port 81. The agent itself has such an answer
  for a source that floods it, but not for a single request.

Usage: ``street.py GOOD-CERTIFICATE OTHER-CERTIFICATE``, PEM files with their keys. Lines in, JSON lines out:
``replies`` counts the agent's replies by status so far, ``waited TOKEN`` says how long the client whom the door on
port 81 refused waited before it came again, null where it did not come.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AGENT = "169.254.170.23"
METRICS = "http://127.0.0.1:2705/metrics"
EKS_AUTH = 4500


def key_of(token: str) -> str:
    """Return the access key id that a token gets."""
    return "ASIA" + base64.b32encode(hashlib.sha256(token.encode()).digest())[:16].decode()


def claims_of(token: str) -> dict[str, float | str]:
    """Return a token's claims."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class Answers(BaseHTTPRequestHandler):
    """HTTP/1.1 with JSON."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: dict[str, object], **headers: str) -> None:
        """Send one answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class EksAuth(Answers):
    """AssumeRoleForPodIdentity (aws-pod-identity.md §2), without looking at signatures."""

    def do_GET(self) -> None:
        """Know no other operation, as AWS's does not."""
        self.answer(404, {"message": "no such operation"}, x_amzn_errortype="UnknownOperationException")

    def do_POST(self) -> None:
        """Answer as the token's claims say: `answer` is the status, `code` AWS's word for it, `life` in seconds."""
        token = json.loads(self.rfile.read(int(self.headers["content-length"])))["token"]
        claims = claims_of(token)
        if claims["answer"] != 200:
            headers = {"x_amzn_errortype": str(claims["code"]), "x_amzn_requestid": "id-of-request"}
            self.answer(int(claims["answer"]), {"message": "as asked"}, **headers)
            return
        arn = "arn:aws:eks:us-west-2:123456789012:podidentityassociation/prod/a-1"
        self.answer(
            200,
            {
                "subject": {"namespace": "ns", "serviceAccount": "sa"},
                "audience": "pods.eks.amazonaws.com",
                "podIdentityAssociation": {"associationArn": arn, "associationId": "a-1"},
                "assumedRoleUser": {"arn": "arn:aws:sts::123456789012:assumed-role/r/s", "assumeRoleId": "AROA:s"},
                "credentials": {
                    "accessKeyId": key_of(token),
                    "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                    "sessionToken": "T" * 900,
                    "expiration": int(time.time() + float(claims["life"])),
                },
            },
        )


class Impatient(Answers):
    """Refuses each token once, with Retry-After."""

    came: dict[str, list[float]] = {}  # noqa: RUF012 - shared by all requests

    def do_GET(self) -> None:
        """Refuse, then give."""
        token = self.headers["authorization"]
        times = self.came.setdefault(token, [])
        times.append(time.monotonic())
        if len(times) == 1:
            self.answer(429, {"message": "later"}, retry_after="1")
            return
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        secrets = {"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "Token": "T", "Expiration": ends}
        self.answer(200, {"AccessKeyId": key_of(token), **secrets})


def relay(certificate: str, port: int) -> None:
    """Take TLS off connections, and hand their one request to the agent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listening = socket.create_server((AGENT, port))

    def one(connection: socket.socket) -> None:
        try:
            with (
                context.wrap_socket(connection, server_side=True) as secure,
                socket.create_connection((AGENT, 80)) as to,
            ):
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += secure.recv(65536)
                to.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                while answer := to.recv(65536):
                    secure.sendall(answer)
        except OSError:
            return  # a client that does not trust the certificate hangs up

    while True:
        threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()


def said(line: str) -> object:
    """Answer one line of the test's."""
    if line == "replies":
        with urllib.request.urlopen(METRICS, timeout=10) as answer:
            text = answer.read().decode()
        return {code: int(float(n)) for code, n in re.findall(r'agent_replies_total\{code="(\d+)"\} (\S+)', text)}
    times = Impatient.came[line.removeprefix("waited ")]
    return {"waited": times[1] - times[0] if len(times) > 1 else None}


def main() -> None:
    """Serve until the lines end."""
    good, other = sys.argv[1:]
    for server in (ThreadingHTTPServer(("127.0.0.1", EKS_AUTH), EksAuth), ThreadingHTTPServer((AGENT, 81), Impatient)):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    for certificate, port in ((good, 443), (other, 444)):
        threading.Thread(target=relay, args=(certificate, port), daemon=True).start()
    print(json.dumps("serving"), flush=True)
    for line in sys.stdin:
        print(json.dumps(said(line.strip())), flush=True)


if __name__ == "__main__":
    main()

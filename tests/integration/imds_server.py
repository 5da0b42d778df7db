"""An IMDS on loopback that behaves as EC2's does (legacy-proxies §2.1): IMDSv2 alone, as with HttpTokens=required."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN_PATH = "/latest/api/token"
ROLES = "/latest/meta-data/iam/security-credentials/"
NOT_FOUND = b"<html><head><title>404 - Not Found</title></head><body><h1>404 - Not Found</h1></body></html>"


@dataclass
class Instance:
    """What the instance has. `answers` stand in for the service's own, by path: status, body, seconds before it."""

    url: str = ""
    role: str = "node"
    region: str = "us-west-2"
    enabled: bool = True
    keys: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes, float]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)

    def issue(self, key: str, secret: str = "secret", token: str = "token", *, expires: str) -> None:
        """Let the role have these credentials from now on."""
        self.keys = {
            "Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": key,
            "SecretAccessKey": secret, "Token": token, "Expiration": expires,
        }  # fmt: skip

    def token(self, handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        """Answer a PUT."""
        seconds = handler.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if handler.headers.get("x-forwarded-for") is not None:
            return 403, b""
        if not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
            return 400, b""
        made = secrets.token_urlsafe(40) + "=="
        self.tokens[made] = time.monotonic() + int(seconds)
        return 200, made.encode()

    def page(self, path: str) -> tuple[int, bytes]:
        """Answer a GET that has a token."""
        pages = {"/latest/meta-data/placement/region": self.region.encode()}
        if self.role:
            pages |= {ROLES: self.role.encode(), ROLES + self.role: json.dumps(self.keys, indent=2).encode()}
        return (200, pages[path]) if path in pages else (404, NOT_FOUND)


@contextmanager
def instance() -> Iterator[Instance]:
    """Serve one on loopback."""
    found = Instance()

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "EC2ws", ""

        def do_PUT(self) -> None:
            self.serve(*(found.token(self) if self.path == TOKEN_PATH else (403, b"")))

        def do_GET(self) -> None:
            good = found.tokens.get(self.headers.get("x-aws-ec2-metadata-token", ""), 0.0) > time.monotonic()
            self.serve(*(found.page(self.path) if good else (401, b"")))

        def serve(self, status: int, body: bytes) -> None:
            found.asked.append((self.command, self.path))
            if not found.enabled:
                status, body = 403, b""
            if self.path in found.answers:
                status, body, seconds = found.answers[self.path]
                time.sleep(seconds)
            self.send_response(status)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            if self.command == "PUT" and status == 200:
                ttl = self.headers["x-aws-ec2-metadata-token-ttl-seconds"]
                self.send_header("x-aws-ec2-metadata-token-ttl-seconds", ttl)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()

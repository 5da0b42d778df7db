"""``kiam health`` as a probe runs it: a process that asks a server over TLS, once."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from integration.dev_plane import plain_environment
from integration.edges.authority import Authority


class Well(BaseHTTPRequestHandler):
    """A server that is well, and keeps connections."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say so."""
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_it_ends_well_where_the_server_is(tmp_path: Path) -> None:
    """With 0 and one word, also where the connection could have been used again."""
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.pair("localhost"))
    certificate, key = authority.pair("agent", client=True)
    with HTTPServer(("127.0.0.1", 0), Well) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        files = [f"--cert={certificate}", f"--key={key}", f"--ca={authority.file}"]
        done = subprocess.run(
            ["kiam", "health", *files, f"--server-address=localhost:{server.server_port}", "--timeout=20s"],
            env=plain_environment(tmp_path), capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        server.shutdown()
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")

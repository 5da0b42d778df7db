"""A way to the API server on which watches are late, end early and lose their past; it knows what it has told when.

Lists go through it as they are. A watch's lines keep their order, and each comes up to `LATE` seconds late.
"""

from __future__ import annotations

import http.client
import json
import queue
import random
import socket
import threading
import time
from bisect import bisect_left
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from cluster.control_plane import ControlPlane

LATE = 0.4
_GONE = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old resource version"}
_PATIENCE = 60.0


class LateWatch(ThreadingHTTPServer):
    """Serves on 127.0.0.1, over plain HTTP, whoever comes, with the rights of a token. `watched` is a list's path."""

    daemon_threads = True

    def __init__(self, plane: ControlPlane, token: str, watched: str, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Way)
        self.place, self.tls, self.token, self.watched = urlsplit(plane.url).netloc, plane.tls(), token, watched
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lists, self.streams, self.gone = 0, 0, False
        self.open: set[_Way] = set()
        self._dice, self._level = random.Random(seed), LATE
        self._versions: list[int] = []
        self._times: list[float] = []
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def told_at(self, version: int) -> float | None:
        """Return when all that is `watched` had been told of up to this version; None if that is still to come."""
        with self._lock:
            at = bisect_left(self._versions, version)
            return self._times[at] if at < len(self._versions) else None

    def cut(self, *, clean: bool = False, gone: bool = False) -> None:
        """End the watches: as the API server does, or within an answer. With `gone` their past is gone, too."""
        self.gone = gone
        for way in list(self.open):
            way.cut(clean)

    def stop(self) -> None:
        """End it."""
        self.shutdown()
        self.cut()
        self.server_close()

    def due(self) -> float:
        """Return when a line that has just come goes on. How late lines are changes now and then."""
        if self._dice.random() < 0.05:
            self._level = self._dice.uniform(0.0, LATE)
        return time.monotonic() + self._level

    def told(self, path: str, version: str) -> None:
        """Remember that a version has been told of."""
        with self._lock:
            if path == self.watched and int(version) > max(self._versions[-1:], default=0):
                self._versions.append(int(version))
                self._times.append(time.monotonic())


class _Way(BaseHTTPRequestHandler):
    """One connection of a client, with one to the API server for each request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # what was told of is there, and not still waiting for an acknowledgement
    server: LateWatch

    def do_GET(self) -> None:
        """Pass a request on."""
        path, query = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
        watch = "watch" in query
        if watch and path == self.server.watched and self.server.gone:
            self.server.gone = False
            self._answer(410, json.dumps(_GONE).encode())
            return
        upstream = http.client.HTTPSConnection(self.server.place, context=self.server.tls, timeout=_PATIENCE)
        headers = {"Accept": self.headers["accept"], "Authorization": f"Bearer {self.server.token}"}
        upstream.request("GET", self.path, headers=headers)
        wire, answer = upstream.sock, upstream.getresponse()
        if watch and answer.status == 200:
            self.server.told(path, query["resourceVersion"])  # whoever goes on from there has read up to there
            self._stream(path, answer, wire)
        else:
            self._list(path, answer)
        upstream.close()

    def cut(self, clean: bool) -> None:
        """End a watch; what has not been told of by now is not told of by this one."""
        self._clean = clean
        self._ending = True
        self._lines.put((0.0, None))

    def _list(self, path: str, answer: http.client.HTTPResponse) -> None:
        body = answer.read()
        self.server.lists += path == self.server.watched and b'"continue"' not in body[:500]
        self._answer(answer.status, body)

    def _stream(self, path: str, answer: http.client.HTTPResponse, wire: socket.socket) -> None:
        self._lines: queue.Queue[tuple[float, bytes | None]] = queue.Queue()
        self._ending, self._clean = False, True
        self.server.open.add(self)
        self.server.streams += 1
        reading = threading.Thread(target=self._read, args=(answer,), daemon=True)
        reading.start()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._pass_on(path)
        except OSError:
            self.close_connection = True  # the client has gone
        finally:
            self.server.open.discard(self)
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
            reading.join(_PATIENCE)

    def _read(self, answer: http.client.HTTPResponse) -> None:
        with suppress(OSError, http.client.HTTPException, ValueError):
            while line := answer.readline():
                self._lines.put((self.server.due(), line))
        self._lines.put((0.0, None))

    def _pass_on(self, path: str) -> None:
        while True:
            due, line = self._lines.get()
            if line is None:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            if self._ending:
                break
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.server.told(path, json.loads(line)["object"]["metadata"]["resourceVersion"])
        if self._clean:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not self._clean

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

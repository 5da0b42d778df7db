"""The API server's HTTP API with the standard library alone: what the product's own client is judged by."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from typing import Any
from urllib.parse import urlsplit

Object = dict[str, Any]
PATIENCE = 30.0
IDLE = 60.0
"""Seconds after which a connection is opened anew: the API server closes those that are idle for 90."""


class Refused(AssertionError):
    """The API server said no: its HTTP status, the reason word and the sentence of its Status."""

    def __init__(self, code: int, status: Object) -> None:
        self.code, self.reason, self.message = code, status.get("reason", ""), status.get("message", "")
        super().__init__(f"{code} {self.reason}: {self.message}")


class Api:
    """One user's way in. Threads may share it: each has a connection of its own."""

    def __init__(self, url: str, tls: ssl.SSLContext, token: str | None = None) -> None:
        self.url = url
        self._tls = tls
        self._token = token
        self._of_thread = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []

    def get(self, path: str) -> Any:
        """Return what is at a path."""
        return self._ask("GET", path)

    def create(self, path: str, body: Object) -> Any:
        """Post an object; return it as it was stored."""
        return self._ask("POST", path, body)

    def put(self, path: str, body: Object) -> Any:
        """Replace an object."""
        return self._ask("PUT", path, body)

    def patch(self, path: str, body: Any, kind: str = "merge-patch") -> Any:
        """Change an object by a ``merge-patch``, a ``json-patch`` or a ``strategic-merge-patch``."""
        return self._ask("PATCH", path, body, f"application/{kind}+json")

    def delete(self, path: str) -> Any:
        """Delete an object, at once."""
        return self._ask("DELETE", f"{path}?gracePeriodSeconds=0")

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, bytes]:
        """Return the status and the body of any request's answer. One sent on a connection that was closed is not
        sent again."""
        connection = getattr(self._of_thread, "connection", None)
        if connection is None:
            place = urlsplit(self.url)
            connection = http.client.HTTPSConnection(place.netloc, timeout=PATIENCE, context=self._tls)
            self._of_thread.connection = connection
            self._opened.append(connection)
        if time.monotonic() - getattr(self._of_thread, "used", 0.0) > IDLE:
            connection.close()
        headers = {"Accept": "*/*", "Content-Type": kind}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
            self._of_thread.used = time.monotonic()
            return status, text
        except BaseException:
            connection.close()  # the next request opens it anew
            raise

    def close(self) -> None:
        """Close every thread's connection."""
        for connection in self._opened:
            connection.close()

    def _ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        code, text = self.ask(method, path, body, kind)
        found = json.loads(text) if text[:1] in (b"{", b"[") else {"message": text.decode(errors="replace")}
        if code >= 300:
            raise Refused(code, found)
        return found

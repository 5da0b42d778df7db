"""An API server as the webhook's benchmark needs it: a list of many service accounts in pages, a watch, single ones.

    python -m bench.api_server PORT ACCOUNTS

Accounts are ``shop/sa-0`` and so on, as a metadata-only list has them: each with a role, and with the fields that
kubectl leaves. ``shop/plain-0`` to ``shop/plain-99`` and as many ``associated`` have none.
"""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar, cast
from urllib.parse import parse_qs, urlsplit

import uvloop

_OBJECT = (
    '{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"%s","namespace":"shop",'
    '"uid":"3d6f9a50-0b1e-4c0e-9d2a-6f1b%08x","resourceVersion":"%d","creationTimestamp":"2026-11-24T08:00:00Z"%s,'
    '"managedFields":[{"manager":"kubectl-client-side-apply","operation":"Update","apiVersion":"v1",'
    '"time":"2026-11-24T08:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},'
    '"f:eks.amazonaws.com/role-arn":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}}}}}]}}'
)
_NOTES = (
    ',"annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/%s",'
    '"kubectl.kubernetes.io/last-applied-configuration":"{\\"apiVersion\\":\\"v1\\",\\"kind\\":\\"ServiceAccount\\"}"}'
)


def account(name: str, number: int = 1, *, role: bool) -> str:
    """Return one service account's metadata."""
    return _OBJECT % (name, number, number + 1, _NOTES % name if role else "")


class ApiServer(asyncio.Protocol):
    """One connection. Lists are made beforehand, so that what is measured is their reader."""

    pages: ClassVar[list[bytes]] = []

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class

    def data_received(self, data: bytes) -> None:
        """Answer all whole requests; a GET has no body."""
        self._bytes += data
        while (end := self._bytes.find(b"\r\n\r\n")) >= 0:
            target = self._bytes.split(b" ", 2)[1].decode()
            self._bytes = self._bytes[end + 4 :]
            self._answer(target)

    def _answer(self, target: str) -> None:
        assert self._transport is not None
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if "watch" in query:
            self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            return
        if path == "/api/v1/serviceaccounts":
            body = self.pages[int(query.get("continue", ["0"])[0])]
        else:
            body = account(path.rpartition("/")[2], role=False).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def _pages(number: int, length: int = 500) -> list[bytes]:
    others = [account(f"{word}-{n}", n, role=False) for word in ("associated", "plain") for n in range(100)]
    found = []
    for first in range(0, number, length):
        last = first + length >= number
        chosen = [account(f"sa-{n}", n, role=True) for n in range(first, min(number, first + length))]
        items = ",".join(chosen + others * last)
        after = "" if last else str(first // length + 1)
        head = '{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"9",'
        found.append(f'{head}"continue":"{after}"}},"items":[{items}]}}'.encode())
    return found


async def _serve(port: int) -> None:
    await asyncio.get_running_loop().create_server(ApiServer, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    ApiServer.pages = _pages(int(sys.argv[2]))
    uvloop.run(_serve(int(sys.argv[1])))

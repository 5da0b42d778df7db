"""A small API server for tests: one list of objects at any path, with versions, pages, watches and faults.

It keeps no rules but those that a watch meets: versions that grow with each change, bookmarks on demand, a past that
can be compacted, streams that can be cut. Each path is its own collection; an object's path is its collection's
with its name behind. ``fieldSelector=spec.nodeName=`` is honoured, as the agent uses it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Thing = dict[str, Any]


class KubeApi:
    """Serves `objects`; change them with `put` and `drop`. `delay` (seconds) holds every answer back."""

    def __init__(self, token: str = "") -> None:
        self.token, self.delay = token, 0.0
        self.version, self.oldest = 1, 0
        self.objects: dict[tuple[str, str], Thing] = {}
        self.history: list[tuple[int, str, str, Thing]] = []
        self.requests: list[str] = []
        self.refuse = 0  # a status for whoever comes
        self.port = 0
        self.connections = 0  # that were ever opened
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        """Listen on 127.0.0.1."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything and stop listening."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def streams(self) -> int:
        """How many watches are open."""
        return len(self._streams)

    def put(self, path: str, name: str, **fields: Any) -> None:
        """Make or change an object."""
        kind = "MODIFIED" if (path, name) in self.objects else "ADDED"
        self._note(kind, path, name, {**fields, "metadata": {"name": name, **fields.get("metadata", {})}})

    def drop(self, path: str, name: str) -> None:
        """Delete one."""
        self._note("DELETED", path, name, dict(self.objects[path, name]))

    def bookmark(self, path: str) -> None:
        """Tell all watches how far they are."""
        self._note("BOOKMARK", path, "", {"metadata": {}})

    def compact(self) -> None:
        """Forget the past: older versions are gone."""
        self.history.clear()
        self.oldest = self.version

    def cut(self) -> None:
        """Break all watches."""
        for writer in list(self._streams):
            writer.transport.abort()

    def _note(self, kind: str, path: str, name: str, thing: Thing) -> None:
        self.version += 1
        thing["metadata"] = {**thing["metadata"], "resourceVersion": str(self.version)}
        if kind == "DELETED":
            del self.objects[path, name]
        elif kind != "BOOKMARK":
            self.objects[path, name] = thing
        self.history.append((self.version, kind, path, thing))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._streams.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split(" ")[1]
        self.requests.append(target)
        await asyncio.sleep(self.delay)
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))
        if self.token and f"authorization: Bearer {self.token}\r\n" not in head:
            return self._say(writer, 401, _status(401, "Unauthorized"))
        if self.refuse:
            return self._say(writer, self.refuse, _status(self.refuse, "Refused"))
        if query.get("watch"):
            await self._stream(writer, path, query)
            return False
        if found := self.objects.get((path.rpartition("/")[0], path.rpartition("/")[2])):
            return self._say(writer, 200, found)
        if "limit" not in query:
            return self._say(writer, 404, _status(404, "NotFound"))
        return self._list(writer, path, query)

    def _list(self, writer: asyncio.StreamWriter, path: str, query: dict[str, str]) -> bool:
        after, _, version = query.get("continue", "").partition("@")
        if version and int(version) < self.oldest:
            return self._say(writer, 410, _status(410, "Expired"))
        names = sorted(name for place, name in self.objects if place == path and name > after)
        things = [self.objects[path, name] for name in names if _selected(self.objects[path, name], query)]
        shown, rest = things[: int(query["limit"])], things[int(query["limit"]) :]
        more = f"{shown[-1]['metadata']['name']}@{self.version}" if rest else ""
        meta = {"resourceVersion": str(self.version), "continue": more}
        return self._say(writer, 200, {"kind": "List", "metadata": meta, "items": shown})

    async def _stream(self, writer: asyncio.StreamWriter, path: str, query: dict[str, str]) -> None:
        seen = int(query["resourceVersion"])
        if seen < self.oldest:
            self._say(writer, 410, _status(410, "Expired"))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._streams.add(writer)
        while not writer.is_closing():
            changed = self._changed
            for version, kind, place, thing in list(self.history):
                if version > seen and place == path and (kind == "BOOKMARK" or _selected(thing, query)):
                    line = json.dumps({"type": kind, "object": thing}).encode() + b"\n"
                    writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            seen = self.version
            await writer.drain()
            await changed.wait()

    def _say(self, writer: asyncio.StreamWriter, status: int, body: Thing) -> bool:
        text = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))
        return True


def _selected(thing: Thing, query: dict[str, str]) -> bool:
    field, _, node = query.get("fieldSelector", "").rpartition("=")
    return field != "spec.nodeName" or bool(thing.get("spec", {}).get("nodeName") == node)


def _status(code: int, reason: str) -> Thing:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": f"it is {reason}"}

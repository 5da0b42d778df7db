"""Objects of an API server in memory, for what reads and writes single ones: versions, conflicts, patches.

::

    api = ObjectApi()
    api.put("/api/v1/namespaces/shop/secrets", {"metadata": {"name": "app"}})   # as somebody else would
    await client.patch(...)                                                     # as the product does
    api.fail = lambda method, path: error_or_none                               # faults
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import ApiError
from rolecall.edges.kube.wire import Status

Thing = dict[str, Any]


def refused(status: int, reason: str) -> ApiError:
    """Return an error of the API server."""
    return ApiError(status, Status(status, reason, f"it is {reason}"))


class ObjectApi:
    """Has what `rolecall.edges.kube.client.KubeClient` has, as far as it is needed; `calls` are (method, path).

    `told` hears of each object that changes: its kind of change and its path. `delay` (seconds) holds each call back,
    before it takes effect.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self.objects: dict[str, Thing] = {}
        self.calls: list[tuple[str, str]] = []
        self.fail: Callable[[str, str], Exception | None] = lambda _method, _path: None
        self.told: Callable[[str, str, Thing], None] = lambda _kind, _path, _thing: None
        self.delay = 0.0

    # --- as somebody else ------------------------------------------------------------------------------

    def put(self, collection: str, thing: Thing) -> Thing:
        """Make or replace an object."""
        made = copy.deepcopy(thing)
        meta = made["metadata"]
        path = f"{collection}/{meta['name']}"
        before = self.objects.get(path)
        meta["resourceVersion"] = str(next(self._numbers))
        if before is None:
            meta.setdefault("uid", f"uid-{meta['resourceVersion']}")
        else:
            meta["uid"] = before["metadata"]["uid"]
        meta.setdefault("namespace", collection.rsplit("/namespaces/", maxsplit=1)[-1].split("/", maxsplit=1)[0])
        self.objects[path] = made
        self.told("put", path, made)
        return made

    def drop(self, path: str) -> None:
        """Delete one."""
        self.told("drop", path, self.objects.pop(path))

    # --- as the product --------------------------------------------------------------------------------

    async def get(self, path: str) -> bytearray:
        """GET."""
        await self._call("GET", path)
        return _encoded(self._found(path))

    async def meta(self, path: str) -> bytearray:
        """GET of the metadata alone."""
        await self._call("GET", path)
        return _encoded({"metadata": self._found(path)["metadata"]})

    async def create(self, path: str, body: bytes) -> bytearray:
        """POST."""
        await self._call("POST", path)
        thing = json.loads(body)
        if f"{path}/{thing['metadata']['name']}" in self.objects:
            raise refused(409, "AlreadyExists")
        return _encoded(self.put(path, thing))

    async def replace(self, path: str, body: bytes) -> bytearray:
        """PUT."""
        await self._call("PUT", path)
        thing, found = json.loads(body), self._found(path)
        if thing["metadata"].get("resourceVersion") not in (None, found["metadata"]["resourceVersion"]):
            raise refused(409, "Conflict")
        return _encoded(self.put(path.rpartition("/")[0], thing))

    async def patch(self, path: str, body: bytes, *, kind: str = "merge-patch") -> bytearray:
        """PATCH; of subresources, ``status`` alone."""
        await self._call("PATCH", path)
        place = path.removesuffix("/status")
        before = self._found(place)
        after = _json_patch(before, json.loads(body)) if kind == "json-patch" else _merge(before, json.loads(body))
        for name in ("uid", "resourceVersion"):
            if after["metadata"][name] != before["metadata"][name]:
                raise refused(409, "Conflict")
        if after == before:
            return _encoded(before)
        return _encoded(self.put(place.rpartition("/")[0], after))

    async def delete(self, path: str, options: bytes = b"") -> bytearray:
        """DELETE."""
        await self._call("DELETE", path)
        found = self._found(path)
        wanted = json.loads(options or b"{}").get("preconditions", {})
        if any(found["metadata"][name] != value for name, value in wanted.items()):
            raise refused(409, "Conflict")
        self.drop(path)
        return _encoded(found)

    def check(self) -> None:
        """Writes are allowed."""

    async def _call(self, method: str, path: str) -> None:
        self.calls.append((method, path))
        await self._clock.sleep(self.delay)
        error = self.fail(method, path)
        if error is not None:
            raise error

    def _found(self, path: str) -> Thing:
        if path not in self.objects:
            raise refused(404, "NotFound")
        return self.objects[path]


def _encoded(thing: Thing) -> bytearray:
    return bytearray(json.dumps(thing).encode())


def _merge(target: Any, patch: Any) -> Any:
    """Return what a merge patch makes (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = _merge(made.get(name), value)
    return made


def _json_patch(target: Thing, operations: list[Thing]) -> Thing:
    """Return what a JSON Patch of whole members makes."""
    made = copy.deepcopy(target)
    for one in operations:
        *way, last = one["path"].strip("/").split("/")
        place = made
        for name in way:
            place = place[name]
        assert one["op"] == "add" or last in place, one
        place[last] = one["value"]
    return made

"""Our watch at a real API server: pages, metadata alone, bookmarks, and a past that is gone."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from cluster.control_plane import ControlPlane
from rolecall.edges.clock import SystemClock
from rolecall.edges.kube.client import JSON, SECONDS, KubeClient, Query
from rolecall.edges.kube.config import read_kubeconfig
from rolecall.edges.kube.watch import Watch, Watched, WatchRules
from rolecall.edges.kube.wire import HasMeta
from rolecall.edges.telemetry import Log

KEY = "rolecall.test/number"


class Spied(KubeClient):
    """Remembers what was asked and answered. `stream_from` is the version that the next stream begins with, and
    `page_of` that of the next list's second page, in place of their own: as after a long sleep."""

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(read_kubeconfig(plane.kubeconfig()))
        self.pages: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.streams: list[dict[str, str]] = []
        self.stream_from = self.page_of = ""

    async def get(self, path: str, query: Query = (), *, accept: str = JSON, timeout: float = SECONDS) -> bytearray:
        asked = dict(query)
        if "continue" in asked and self.page_of:
            asked["continue"], self.page_of = aged(asked["continue"], int(self.page_of)), ""
        self.pages.append(asked)
        found = await super().get(path, list(asked.items()), accept=accept, timeout=timeout)
        self.bodies.append(bytes(found))
        return found

    def watch(
        self, path: str, query: Query = (), *, accept: str = JSON
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        asked = dict(query)
        if self.stream_from:
            asked["resourceVersion"], self.stream_from = self.stream_from, ""
        self.streams.append(asked)
        return super().watch(path, list(asked.items()), accept=accept)


class Store:
    """Name to annotation, and how often it was filled whole."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.filled = 0

    def replace(self, objects: Sequence[HasMeta]) -> None:
        self.held, self.filled = {}, self.filled + 1
        for one in objects:
            self.put(one)

    def put(self, found: HasMeta) -> None:
        self.held[found.metadata.name] = (found.metadata.annotations or {}).get(KEY, "")

    def drop(self, found: HasMeta) -> None:
        self.held.pop(found.metadata.name, None)


Scene = Callable[[Watch[Any, Any], Store, Spied], Awaitable[None]]


def accounts_of(namespace: str) -> str:
    """Return the path of a namespace's service accounts."""
    return f"/api/v1/namespaces/{namespace}/serviceaccounts"


def watched(plane: ControlPlane, path: str, scene: Scene, *, stream: float = 300.0, **how: Any) -> None:
    """Run a watch of what is at a path beside a scene."""

    async def run() -> None:
        client, store = Spied(plane), Store()
        what = Watched(path, HasMeta, lambda found: found, **how)
        rules = WatchRules(shortest=stream, first_pause=0.05)
        watch = Watch(client, what, store, clock=SystemClock(), dice=lambda: 0.0, log=Log(), rules=rules)
        running = asyncio.create_task(watch.run())
        try:
            await scene(watch, store, client)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            client.close()

    asyncio.run(run())


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the conditions are of other parties
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited for {what}") from None


def etcd(plane: ControlPlane, path: str, body: dict[str, object]) -> dict[str, Any]:
    """Ask the control plane's etcd by its gateway of JSON, at its socket."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(plane.directory / "etcd.sock"))
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text
    return dict(json.loads(text))


def compact(plane: ControlPlane) -> int:
    """Have etcd forget all that was before now; return the revision of now."""
    anything = {"key": base64.b64encode(b"/").decode()}
    revision = int(etcd(plane, "/v3/kv/range", anything)["header"]["revision"])
    etcd(plane, "/v3/kv/compaction", {"revision": revision, "physical": True})
    return revision


def aged(token: str, version: int) -> str:
    """Return a continue token as of another version (apiserver's storage/continue.go: JSON in base64)."""
    found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert int(found["rv"]) > version
    return base64.urlsafe_b64encode(json.dumps(found | {"rv": version}).encode()).decode().rstrip("=")


def numbered(plane: ControlPlane, namespace: str, number: int) -> dict[str, str]:
    """Make annotated service accounts; return what a store holds then."""
    for one in range(number):
        plane.service_account(namespace, f"sa-{one:03}", {KEY: str(one)})
    return {f"sa-{one:03}": str(one) for one in range(number)} | {"default": ""}


def test_pages_and_changes(control_plane: ControlPlane, namespace: str) -> None:
    """Every page is asked for, and what is made, changed and deleted afterwards arrives by the stream alone."""
    held = numbered(control_plane, namespace, 23)
    accounts = accounts_of(namespace)

    async def scene(watch: Watch[Any, Any], store: Store, client: Spied) -> None:
        await until(lambda: watch.streaming, "the stream")
        assert store.held == held
        assert [page["limit"] for page in client.pages] == ["5"] * 5
        assert sum("continue" in page for page in client.pages) == 4
        control_plane.service_account(namespace, "new", {KEY: "new"})
        control_plane.admin.patch(f"{accounts}/sa-000", {"metadata": {"annotations": {KEY: "changed"}}})
        control_plane.admin.delete(f"{accounts}/sa-001")
        now = {name: text for name, text in held.items() if name != "sa-001"} | {"new": "new", "sa-000": "changed"}
        await until(lambda: store.held == now, "the changes")
        assert (store.filled, watch.counters.events, watch.counters.failures) == (1, 3, {})

    watched(control_plane, accounts_of(namespace), scene, page=5)


def test_metadata_alone(control_plane: ControlPlane, namespace: str) -> None:
    """Lists and events hold nothing of an account but its metadata: it is the API server that leaves the rest out."""
    held = numbered(control_plane, namespace, 3)
    whole = {"metadata": {"name": "whole"}, "secrets": [{"name": "one"}], "automountServiceAccountToken": False}
    control_plane.admin.create(accounts_of(namespace), whole)

    async def scene(watch: Watch[Any, Any], store: Store, client: Spied) -> None:
        await until(lambda: watch.streaming, "the stream")
        assert store.held == held | {"whole": ""}
        (page,) = map(msgspec.json.decode, client.bodies)
        assert page["kind"] == "PartialObjectMetadataList"
        assert {key for one in page["items"] for key in one} <= {"metadata", "kind", "apiVersion"}
        control_plane.service_account(namespace, "later", {KEY: "later"})
        await until(lambda: store.held.get("later") == "later", "the event")

    watched(control_plane, accounts_of(namespace), scene, metadata_only=True)


def test_bookmarks_carry_a_quiet_watch_on(control_plane: ControlPlane, namespace: str) -> None:
    """While others' objects change, a watch that sees nothing goes on from a bookmark's version, and lists once."""
    other = control_plane.namespace()

    async def scene(watch: Watch[Any, Any], store: Store, client: Spied) -> None:
        await until(lambda: watch.streaming, "the stream")
        for number in range(20):
            control_plane.service_account(other, f"sa-{number}")
        await until(lambda: len(client.streams) >= 2, "the next stream", 40)
        first, second = (int(stream["resourceVersion"]) for stream in client.streams[:2])
        assert watch.counters.bookmarks >= 1
        assert second >= first + 20
        assert (store.filled, watch.counters.events, watch.counters.failures) == (1, 0, {})
        control_plane.service_account(namespace, "last", {KEY: "last"})
        await until(lambda: "last" in store.held, "the event")

    watched(control_plane, accounts_of(namespace), scene, stream=8.0, metadata_only=True)


@pytest.fixture(scope="module")
def probes(control_plane: ControlPlane) -> str:
    """A kind of object that there has not been before: what the API server remembers of it begins now. Its path."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "watchprobes", "singular": "watchprobe", "kind": "WatchProbe"}
    spec = {"group": "test.rolecall.dev", "scope": "Cluster", "names": names, "versions": [version]}
    control_plane.install({"metadata": {"name": "watchprobes.test.rolecall.dev"}, "spec": spec})
    path = "/apis/test.rolecall.dev/v1/watchprobes"
    for number in range(12):
        probe(control_plane, path, f"probe-{number:02}")
    return path


def probe(plane: ControlPlane, path: str, name: str) -> None:
    kind = {"apiVersion": "test.rolecall.dev/v1", "kind": "WatchProbe"}
    plane.admin.create(path, kind | {"metadata": {"name": name, "annotations": {KEY: name}}})


def names(plane: ControlPlane, path: str) -> dict[str, str]:
    """Return what a store holds of them."""
    return {one["metadata"]["name"]: one["metadata"]["name"] for one in plane.admin.get(path)["items"]}


@pytest.mark.parametrize("metadata_only", [True, False])
def test_a_version_that_is_too_old(control_plane: ControlPlane, probes: str, metadata_only: bool) -> None:
    """The API server says 410, and the watch lists anew: what happened meanwhile is there."""

    async def scene(watch: Watch[Any, Any], store: Store, client: Spied) -> None:
        client.stream_from = "2"
        await until(lambda: store.filled == 2 and watch.streaming, "the second list")
        assert client.streams[0]["resourceVersion"] == "2"
        assert watch.counters.failures == {"gone": 1}
        assert store.held == names(control_plane, probes)
        later = f"after-{metadata_only}".lower()
        probe(control_plane, probes, later)
        await until(lambda: later in store.held, "the event")

    watched(control_plane, probes, scene, metadata_only=metadata_only)


def test_a_page_of_a_version_that_is_compacted(control_plane: ControlPlane, probes: str) -> None:
    """The API server says 410 to the second page: the list is begun anew, with longer pages, and is whole."""

    async def scene(watch: Watch[Any, Any], store: Store, client: Spied) -> None:
        client.page_of = "2"
        compact(control_plane)
        await until(lambda: watch.streaming, "the stream")
        assert watch.counters.failures == {"gone": 1}
        assert [page["limit"] for page in client.pages] == ["5", "5", "20"]
        assert store.held == names(control_plane, probes)
        assert store.filled == 1

    watched(control_plane, probes, scene, page=5)


def test_an_api_server_that_dies(control_plane: ControlPlane, namespace: str) -> None:
    """The store keeps what it held meanwhile; afterwards the watch goes on where it was, and knows what happened."""
    held = numbered(control_plane, namespace, 3)

    async def scene(watch: Watch[Any, Any], store: Store, client: Spied) -> None:
        await until(lambda: watch.streaming, "the stream")
        began = len(client.streams)
        control_plane.kill_api_server()
        try:
            await until(lambda: watch.failing, "the watch to notice")
            assert (store.held, watch.streaming) == (held, False)
        finally:
            control_plane.revive_api_server()
        await until(control_plane.serves, "the API server")
        control_plane.service_account(namespace, "after", {KEY: "after"})
        await until(lambda: store.held == held | {"after": "after"}, "the account that was made after it")
        assert len(client.streams) > began
        assert watch.failing == ""

    watched(control_plane, accounts_of(namespace), scene)


def test_a_cut_stream_is_taken_up_again(control_plane: ControlPlane, namespace: str) -> None:
    """Streams that end every second lose nothing and list nothing, while accounts come and go."""

    async def scene(watch: Watch[Any, Any], store: Store, client: Spied) -> None:
        await until(lambda: watch.streaming, "the stream")
        loop = asyncio.get_running_loop()
        expected = {"default": ""}
        for number in range(120):
            name = f"sa-{number % 7}"
            if name in expected:
                del expected[name]
                path = f"{accounts_of(namespace)}/{name}"
                await loop.run_in_executor(None, control_plane.admin.delete, path)
            else:
                expected[name] = str(number)
                note = {KEY: str(number)}
                await loop.run_in_executor(None, control_plane.service_account, namespace, name, note)
            await asyncio.sleep(0.03)
        await until(lambda: store.held == expected, "the last change")
        assert len(client.streams) >= 3
        assert (store.filled, watch.counters.failures) == (1, {})

    watched(control_plane, accounts_of(namespace), scene, stream=1.0)

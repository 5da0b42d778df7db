"""The client and the watch on real sockets, against a small API server."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from integration.edges.authority import Authority
from kube_api import KubeApi
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_call import CallFailed
from rolecall.edges.kube.client import ApiError, KubeClient
from rolecall.edges.kube.config import in_cluster, read_kubeconfig
from rolecall.edges.kube.watch import Watch, Watched
from rolecall.edges.kube.wire import HasMeta
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

PODS = "/api/v1/pods"


def kubeconfig(where: Path, server: str, user: dict[str, str] | None = None, **cluster: object) -> Path:
    """Write one, as JSON, which is YAML too."""
    path = where / "kubeconfig"
    found = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(json.dumps(found))
    return path


async def until(found: Callable[[], bool], what: str) -> None:
    for _ in range(1000):
        if found():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"it never came to be: {what}")


class Names:
    def __init__(self) -> None:
        self.held: set[str] = set()

    def replace(self, objects: Sequence[str]) -> None:
        self.held = set(objects)

    def put(self, found: str) -> None:
        self.held.add(found)

    def drop(self, found: str) -> None:
        self.held.discard(found)


def test_a_watch_lives_through_cuts_compaction_and_a_restart(tmp_path: Path) -> None:
    """Whatever is done to it, the store becomes what the API server has."""

    async def work() -> None:
        api, names = KubeApi(token="t"), Names()
        await api.start()
        for number in range(7):
            api.put(PODS, f"p{number}", spec={"nodeName": "here"})
        api.put(PODS, "elsewhere", spec={"nodeName": "there"})
        (tmp_path / "token").write_text("t\n")
        path = kubeconfig(tmp_path, f"http://127.0.0.1:{api.port}", {"tokenFile": "token"})
        client = KubeClient(read_kubeconfig(path))
        watched = Watched(
            PODS, HasMeta, lambda pod: pod.metadata.name, (("fieldSelector", "spec.nodeName=here"),), page=3
        )
        watch = Watch(client, watched, names, clock=SystemClock(), dice=lambda: 0.0, log=Log("rolecall.test_kube"))
        task = asyncio.create_task(watch.run())
        await asyncio.wait_for(watch.listed.wait(), 10)
        assert names.held == {f"p{number}" for number in range(7)}
        await until(lambda: api.streams == 1, "a stream")
        api.drop(PODS, "p0")
        api.put(PODS, "big", spec={"nodeName": "here"}, more="x" * 300_000)
        await until(lambda: names.held == {"big", *(f"p{number}" for number in range(1, 7))}, "the changes")
        api.cut()
        api.put(PODS, "while-cut", spec={"nodeName": "here"})
        await until(lambda: "while-cut" in names.held, "what came while the stream was cut")
        assert watch.counters.lists == 1
        await until(lambda: api.streams == 1, "a stream")
        api.cut()
        api.drop(PODS, "while-cut")
        api.compact()
        await until(lambda: "while-cut" not in names.held, "the new list")
        assert watch.counters.lists == 2
        port = api.port
        await api.stop()
        await until(lambda: not watch.streaming, "the failure")
        assert "big" in names.held
        await api.start(port=port)
        api.put(PODS, "after", spec={"nodeName": "here"})
        await until(lambda: "after" in names.held, "the restart")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        client.close()
        await api.stop()

    asyncio.run(work())


def test_calls_and_their_errors(tmp_path: Path) -> None:
    """One connection for many; the API server's words; and a plain word where there is no answer."""

    async def work() -> None:
        api = KubeApi()
        await api.start()
        api.put("/apis/x", "one", data={"a": "b"})
        client = KubeClient(read_kubeconfig(kubeconfig(tmp_path, f"http://localhost:{api.port}/")))
        for _ in range(3):
            assert json.loads(await client.get("/apis/x/one"))["data"] == {"a": "b"}
        with pytest.raises(ApiError) as refused:
            await client.get("/apis/x/two")
        assert (refused.value.status, refused.value.code) == (404, "NotFound")
        assert json.loads(await client.get("/apis/x/one"))["data"] == {"a": "b"}
        assert api.connections == 1
        api.delay = 5.0
        with pytest.raises(CallFailed) as late:
            await client.get("/apis/x/one", timeout=0.1)
        assert late.value.cause == "timeout"
        api.delay = 0.0
        assert await client.get("/apis/x/one")
        await api.stop()
        with pytest.raises(CallFailed) as nobody:
            await client.get("/apis/x/one")
        assert nobody.value.cause == "refused"
        client.close()

    asyncio.run(work())


def test_data_in_a_kubeconfig_and_tls(tmp_path: Path) -> None:
    """The certificates are in the file itself; a server that another authority vouches for is not believed."""

    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.pair("server"))
    texts = {authority: base64.b64encode(authority.file.read_bytes()).decode() for authority in (ours, other)}

    async def work() -> None:
        api = KubeApi(token="tok")
        await api.start(context)
        url = f"https://127.0.0.1:{api.port}"
        api.put("/x", "one")
        for authority, good in ((ours, True), (other, False)):
            data = {"certificate-authority-data": texts[authority], "tls-server-name": "server"}
            client = KubeClient(read_kubeconfig(kubeconfig(tmp_path, url, {"token": "tok"}, **data)))
            if good:
                assert await client.get("/x/one")
            else:
                with pytest.raises(CallFailed) as refused:
                    await client.get("/x/one")
                assert refused.value.cause == "tls"
            client.close()
        await api.stop()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("server", "user", "cluster", "word"),
    [
        ("http://10.0.0.1", {}, {}, "without TLS"),
        ("https://k", {"exec": {"command": "x"}}, {}, "exec"),
        ("https://k", {"username": "u", "password": "p"}, {}, "password"),
        ("https://k", {}, {"insecure-skip-tls-verify": True}, "does not verify"),
        ("https://k", {}, {"proxy-url": "http://p"}, "proxy"),
        ("https://k", {}, {"certificate-authority-data": "%"}, "base64"),
        ("nothing", {}, {}, "cannot be called"),
    ],
)
def test_a_kubeconfig_that_is_not_to_be_used(tmp_path: Path, server: str, user: dict, cluster: dict, word: str) -> None:
    """Each is refused with what is wrong with it."""
    with pytest.raises(Misconfigured, match=word):
        read_kubeconfig(kubeconfig(tmp_path, server, user, **cluster))


def test_yaml_and_a_pod_in_a_cluster(tmp_path: Path) -> None:
    """YAML as kubeadm writes it; and what a pod has, where its token is read each time."""
    path = tmp_path / "k.yaml"
    path.write_text(
        "current-context: a\ncontexts:\n- {name: a, context: {cluster: c, user: u}}\n"
        "clusters:\n- {name: c, cluster: {server: 'https://[::1]:6443'}}\nusers:\n- {name: u, user: {token: abc-tok}}\n"
    )
    found = read_kubeconfig(path)
    assert (found.origin.port, str(found.origin)) == (6443, "https://[::1]:6443")
    assert "abc-tok" not in repr(found)
    path.write_text("a: [")
    with pytest.raises(Misconfigured, match="no kubeconfig"):
        read_kubeconfig(path)
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert in_cluster(environment, tmp_path) is None
    (tmp_path / "token").write_text("one-token\n")
    config = in_cluster(environment, tmp_path)
    assert config is not None
    assert str(config.origin) == "https://[fd00::1]"
    assert config.token() is not None
    (tmp_path / "token").write_text("")
    with pytest.raises(Misconfigured, match="holds no token"):
        config.token()

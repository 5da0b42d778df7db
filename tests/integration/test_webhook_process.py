"""The webhook as a process: TLS, its sources, and its end, against a small API server."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.dev_plane import wait_until
from integration.webhook_process import WebhookProcess, kubeconfig, review
from kube_api import KubeApi
from sdks.certificates import Authority

ACCOUNTS = "/api/v1/serviceaccounts"
ROLE = "arn:aws:iam::123456789012:role/carts"


class ApiThread:
    """The small API server in a thread of its own, so that tests may wait for other things meanwhile."""

    def __init__(self) -> None:
        self.api, self.loop = KubeApi(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> ApiThread:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.api.start(), self.loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.api.stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def account(self, name: str, *, role: str = "", namespace: str = "carts") -> None:
        """Make or change a service account, where the list has it and where it is read singly."""
        notes = {"eks.amazonaws.com/role-arn": role} if role else {}
        meta = {"namespace": namespace, "uid": name, "annotations": notes}
        for path in (ACCOUNTS, f"/api/v1/namespaces/{namespace}/serviceaccounts"):
            self.loop.call_soon_threadsafe(lambda path=path: self.api.put(path, name, metadata=meta))


@pytest.fixture
def api() -> Iterator[ApiThread]:
    """An API server with one annotated account."""
    with ApiThread() as found:
        found.account("carts", role=ROLE)
        yield found


@pytest.fixture
def tls(tmp_path: Path) -> Authority:
    """An authority, and its certificate for loopback in ``tls.pem``."""
    authority = Authority("webhook")
    (tmp_path / "tls.pem").write_bytes(authority.issue("127.0.0.1"))
    return authority


def started(tmp_path: Path, api: ApiThread, *flags: str, program: str = "rolecall") -> WebhookProcess:
    config = kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{api.api.port}")
    certificate = [f"--tls-cert={tmp_path / 'tls.pem'}", f"--tls-key={tmp_path / 'tls.pem'}"]
    return WebhookProcess(tmp_path, config, *certificate, *flags, program=program)


@contextmanager
def connected(webhook: WebhookProcess, *authorities: Authority) -> Iterator[http.client.HTTPSConnection]:
    context = ssl.create_default_context()
    for one in authorities:
        context.load_verify_locations(cadata=one.certificate.decode())
    connection = http.client.HTTPSConnection("127.0.0.1", webhook.port, timeout=30, context=context)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPSConnection, body: bytes, **headers: str) -> tuple[int, Any]:
    connection.request("POST", "/mutate?timeout=5s", body, {"content-type": "application/json"} | headers)
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if answer.status == 200 else text.decode()


def patched(found: tuple[int, Any]) -> bool:
    assert found[0] == 200, found
    return "patch" in found[1]["response"]


@pytest.mark.parametrize("program", ["rolecall", "pod-identity-webhook"])
def test_it_serves_and_ends(tmp_path: Path, api: ApiThread, tls: Authority, program: str) -> None:
    with started(tmp_path, api, program=program) as webhook:
        webhook.ready()
        with connected(webhook, tls) as connection:
            assert patched(ask(connection, review("carts")))
            assert not patched(ask(connection, review("nobody")))
        code, text = webhook.view("/metrics")
        assert code == 200
        assert 'rolecall_webhook_injected_total{generation="irsa"} 1' in text
        assert 'rolecall_webhook_handshakes_unfinished_total{reason="late"} 0' in text
        assert 'pod_identity_webhook_pod_count{method="sts_web_identity"} 1' in text
        assert webhook.view("/debug/alpha/cache")[0] == 404
        assert webhook.stop() == 0
    assert webhook.events("review.answered")[0]["because"] == "annotation eks.amazonaws.com/role-arn"


def test_before_the_list_nobody_is_let_through(tmp_path: Path, api: ApiThread, tls: Authority) -> None:
    """It is not ready, a review waits, and then gets its 503; once listed, the same pod is injected."""
    api.api.refuse = 403
    with started(tmp_path, api) as webhook:
        wait_until(lambda: webhook.view("/readyz")[0] == 503, "the metrics port")
        with connected(webhook, tls) as connection:
            status, text = ask(connection, review("carts"))
            assert (status, "service-accounts" in text) == (503, True)
            api.api.refuse = 0
            webhook.ready()
            assert patched(ask(connection, review("carts")))
        notes = webhook.events("watch.failing")
        assert notes, webhook.output


def test_an_annotation_of_this_moment_counts(tmp_path: Path, api: ApiThread, tls: Authority) -> None:
    """The watch is held back for a second; the question is not."""
    api.account("web")
    with started(tmp_path, api) as webhook, connected(webhook, tls) as connection:
        webhook.ready()
        assert not patched(ask(connection, review("web")))
        api.loop.call_soon_threadsafe(api.api.cut)
        api.account("web", role=ROLE)
        api.account("new", role=ROLE)
        assert patched(ask(connection, review("web")))
        assert patched(ask(connection, review("new")))


def test_files_are_read_again_while_reviews_go_on(tmp_path: Path, api: ApiThread, tls: Authority) -> None:
    """Another authority's certificate, ten times: connections stay, new ones meet the new certificate, none fails."""
    later = [Authority(str(number)) for number in range(10)]
    with started(tmp_path, api) as webhook:
        webhook.ready()
        stop, failed, served = threading.Event(), [], [0, 0]

        def hammer(anew: bool) -> None:
            while not stop.is_set():
                try:
                    with connected(webhook, tls, *later) as connection:
                        for _ in range(1 if anew else 500):
                            if stop.is_set():
                                break
                            assert patched(ask(connection, review("carts")))
                            served[anew] += 1
                except Exception as fault:
                    failed.append(repr(fault))

        threads = [threading.Thread(target=hammer, args=(anew,)) for anew in (False, False, True, True)]
        for thread in threads:
            thread.start()
        for number, authority in enumerate(later):
            made = tmp_path / "new.pem"
            made.write_bytes(authority.issue("127.0.0.1"))
            os.replace(made, tmp_path / "tls.pem")
            if number % 2:
                webhook.process.send_signal(signal.SIGHUP)
            wait_until(lambda n=number: len(webhook.events("certificate.shown")) >= n + 2, "the new certificate")
        (tmp_path / "tls.pem").write_text("nonsense")
        wait_until(lambda: webhook.events("certificate.not_usable"), "a word about the broken file")
        stop.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert min(served) > 10, served
        with connected(webhook, later[-1]) as connection:
            assert patched(ask(connection, review("carts")))
        assert webhook.view("/readyz")[0] == 200


def test_the_file_of_identities_is_followed(tmp_path: Path, api: ApiThread, tls: Authority) -> None:
    path = tmp_path / "identities"
    path.write_text('{"identities":[]}')
    api.account("web")
    with started(tmp_path, api, f"--watch-container-credentials-config={path}") as webhook:
        webhook.ready()
        with connected(webhook, tls) as connection:
            assert not patched(ask(connection, review("web")))
            path.write_text('{"identities":[{"namespace":"car*","serviceAccount":"web"}]}')
            wait_until(lambda: patched(ask(connection, review("web"))), "the identity")
            path.write_text("{")
            wait_until(lambda: webhook.events("identities.not_usable"), "a word about it")
            assert patched(ask(connection, review("web")))
            assert "identities" in json.loads(webhook.view("/readyz")[1])["notes"]


def test_requests_that_are_none(tmp_path: Path, api: ApiThread, tls: Authority) -> None:
    with started(tmp_path, api) as webhook, connected(webhook, tls) as connection:
        webhook.ready()
        assert ask(connection, b"{")[0] == 400
        assert ask(connection, review("carts"), **{"content-type": "text/plain"})[0] == 415
        assert patched(ask(connection, review("carts"), **{"content-type": "application/json; charset=utf-8"}))
        connection.request("GET", "/mutate")
        answer = connection.getresponse()
        assert (answer.status, b"POST" in answer.read()) == (405, True)
        padded = review("carts").replace(b'"uid"', b'"pad": "%s", "uid"' % (b"x" * (2 << 20)))
        assert patched(ask(connection, padded))
        with connected(webhook, tls) as another:
            assert ask(another, b"x" * ((3 << 20) + 1))[0] == 413


def test_only_clients_with_a_certificate_where_that_is_asked(tmp_path: Path, api: ApiThread, tls: Authority) -> None:
    clients = Authority("clients")
    (tmp_path / "clients.pem").write_bytes(clients.certificate)
    (tmp_path / "client.pem").write_bytes(clients.issue(user="kube-apiserver"))
    with started(tmp_path, api, f"--client-ca={tmp_path / 'clients.pem'}") as webhook:
        webhook.ready()
        with connected(webhook, tls) as connection, pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            ask(connection, review("carts"))
        context = ssl.create_default_context(cadata=tls.certificate.decode())
        context.load_cert_chain(tmp_path / "client.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", webhook.port, timeout=30, context=context)
        assert patched(ask(connection, review("carts")))
        connection.close()


def test_a_review_under_way_is_finished(tmp_path: Path, api: ApiThread, tls: Authority) -> None:
    """It waits for the API server, which takes its time; the signal comes meanwhile."""
    with started(tmp_path, api) as webhook, connected(webhook, tls) as connection:
        webhook.ready()
        api.api.delay = 0.7
        connection.request("POST", "/mutate", review("late"), {"content-type": "application/json"})
        wait_until(lambda: "rolecall_webhook_reviews_waiting 1" in webhook.view("/metrics")[1], "the review")
        webhook.process.send_signal(signal.SIGTERM)
        assert connection.getresponse().status == 200
        assert webhook.process.wait(30) == 0


def test_a_mistake_is_said_before_anything_is_opened(tmp_path: Path, api: ApiThread) -> None:
    (tmp_path / "tls.pem").write_text("nonsense")
    webhook = started(tmp_path, api)
    assert webhook.process.wait(30) == 2
    assert "Traceback" not in webhook.output
    assert "tls.pem" in webhook.output or "certificate" in webhook.output

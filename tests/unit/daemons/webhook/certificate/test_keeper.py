"""A certificate of our own, shared by replicas and believed before it is shown. In virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from rolecall.core.names import Namespace
from rolecall.core.secrets import Secret
from rolecall.daemons.webhook.certificate.keeper import CertificateKeeper
from rolecall.daemons.webhook.certificate.plan import FORMER_FOR
from rolecall.daemons.webhook.config import TlsSettings
from rolecall.edges.certificates import SERVING_DAYS, read_certificate
from rolecall.edges.kube.client import ApiError
from rolecall.edges.kube.wire import Status
from rolecall.edges.telemetry import Log
from rolecall.testing.fake_clock import FakeClock

NAMES = ("hook", "hook.rolecall.svc")
SETTINGS = TlsSettings(None, "hook-tls", NAMES, "hook", overlap=300.0)
DAY = 86_400.0
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hook"
SECRETS = "/api/v1/namespaces/rolecall/secrets"


class Objects:
    """An API server that keeps versions: whoever writes over another version than he read meets a conflict."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, Any]] = {}
        self.version = 1
        config = {"service": {"namespace": "rolecall", "name": "hook"}}
        foreign = {"service": {"namespace": "other", "name": "hook"}, "caBundle": "Zm9yZWlnbg=="}
        self._set(
            CONFIGURATION,
            {
                "metadata": {},
                "webhooks": [{"name": "a", "clientConfig": foreign}, {"name": "b", "clientConfig": config}],
            },
        )

    def _set(self, path: str, thing: dict[str, Any]) -> bytearray:
        self.version += 1
        thing["metadata"] = {**thing["metadata"], "resourceVersion": str(self.version)}
        self.there[path] = json.loads(json.dumps(thing))
        return bytearray(json.dumps(thing).encode())

    async def get(self, path: str) -> bytearray:
        if path not in self.there:
            raise ApiError(404, Status(404, "NotFound"))
        return bytearray(json.dumps(self.there[path]).encode())

    async def create(self, path: str, body: bytes) -> bytearray:
        thing = json.loads(body)
        path = f"{path}/{thing['metadata']['name']}"
        if path in self.there:
            raise ApiError(409, Status(409, "AlreadyExists"))
        return self._set(path, thing)

    async def replace(self, path: str, body: bytes) -> bytearray:
        thing = json.loads(body)
        if thing["metadata"]["resourceVersion"] != self.there[path]["metadata"]["resourceVersion"]:
            raise ApiError(409, Status(409, "Conflict"))
        return self._set(path, thing)

    async def patch(self, path: str, body: bytes, *, kind: str) -> bytearray:
        assert kind == "json-patch"
        thing = self.there[path]
        for operation in json.loads(body):
            *way, last = operation["path"].split("/")[1:]
            found: Any = thing
            for step in way:
                found = found[int(step) if isinstance(found, list) else step]
            if operation["op"] == "test":
                assert found[last] == operation["value"]
            else:
                assert (operation["op"], last) == ("add", "caBundle")
                found[last] = operation["value"]
        return self._set(path, thing)

    @property
    def believed(self) -> str:
        ours = self.there[CONFIGURATION]["webhooks"][1]["clientConfig"]
        return base64.b64decode(ours.get("caBundle", "")).decode()


class Tls:
    """Notes what is shown, and that everybody believed it by then."""

    def __init__(self, objects: Objects) -> None:
        self.objects, self.shown = objects, list[str]()

    def show(self, certificate: str, key: Secret) -> None:
        self.shown.append(certificate)


def keeper(objects: Objects, clock: FakeClock) -> tuple[CertificateKeeper, Tls]:
    tls = Tls(objects)
    made = CertificateKeeper(
        SETTINGS, (Namespace("rolecall"), "hook"), objects, tls, clock=clock, log=Log(), dice=lambda low, high: high
    )
    return made, tls


def authority_of(objects: Objects) -> str:
    data = objects.there[f"{SECRETS}/hook-tls"]["data"]
    return base64.b64decode(data["ca.crt"]).decode()


def test_the_first_replica_makes_it_and_the_second_takes_it() -> None:
    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        (one, shown), (two, also) = keeper(objects, clock), keeper(objects, clock)
        await one.look()
        await two.look()
        assert shown.shown == also.shown
        assert objects.believed == authority_of(objects)
        found = read_certificate(shown.shown[0])
        assert found.names == set(NAMES)
        assert round((found.ends - clock.now()) / DAY) == SERVING_DAYS
        foreign = objects.there[CONFIGURATION]["webhooks"][0]["clientConfig"]
        assert foreign["caBundle"] == "Zm9yZWlnbg==", "another's webhook is not touched"

    asyncio.run(scene())


def test_two_that_create_at_once_show_the_same() -> None:
    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        (one, shown), (two, also) = keeper(objects, clock), keeper(objects, clock)
        original = objects.create

        async def slow(path: str, body: bytes) -> bytearray:
            objects.create = original
            await two.look()  # it is quicker: it has read that there is none as well, and has written by now
            return await original(path, body)

        objects.create = slow
        await one.look()
        assert shown.shown == also.shown
        assert objects.believed == authority_of(objects)

    asyncio.run(scene())


def test_the_next_is_believed_for_long_before_it_is_shown_and_the_former_for_long_after() -> None:
    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        made, tls = keeper(objects, clock)
        running = asyncio.create_task(made.run())
        await clock.advance(1)
        first, old = tls.shown[0], objects.believed
        clock.step(59 * DAY)
        await clock.advance(60)
        assert (tls.shown, objects.believed) == ([first], old)
        clock.step(1.1 * DAY)
        await clock.advance(60)
        assert tls.shown == [first], "two thirds of its life are over: the next one is spread, not shown"
        assert len(objects.believed) > 1.8 * len(old)
        await clock.advance(300)
        assert len(tls.shown) == 2
        assert objects.believed.startswith(authority_of(objects))
        assert old in objects.believed, "a slow replica shows the former one still"
        clock.step(FORMER_FOR)
        await clock.advance(60)
        assert objects.believed == authority_of(objects)
        running.cancel()

    asyncio.run(scene())


def test_at_no_moment_is_one_shown_that_was_not_believed_for_the_overlap() -> None:
    """Through a rotation by two replicas, looked at every ten seconds."""

    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        replicas = [keeper(objects, clock) for _ in range(2)]
        tasks = [asyncio.create_task(one.run()) for one, _ in replicas]
        await clock.advance(1)
        clock.step(60 * DAY)
        believed: dict[str, float] = {}
        shown: dict[str, float] = {}
        for _ in range(60):
            await clock.advance(10)
            for text in objects.believed.split("-----END CERTIFICATE-----\n")[:-1]:
                believed.setdefault(text, clock.monotonic())
            for _, tls in replicas:
                shown.setdefault(tls.shown[-1], clock.monotonic())
        assert [len(tls.shown) for _, tls in replicas] == [2, 2]
        assert replicas[0][1].shown == replicas[1][1].shown
        second = authority_of(objects).split("-----END CERTIFICATE-----\n")[0]
        assert max(shown.values()) - believed[second] >= SETTINGS.overlap - 10
        for task in tasks:
            task.cancel()

    asyncio.run(scene())


def test_one_that_was_off_for_months_makes_a_new_one_at_once() -> None:
    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        await keeper(objects, clock)[0].look()
        clock.step(200 * DAY)
        made, tls = keeper(objects, clock)
        await made.look()
        assert made.ends > clock.now()
        assert objects.believed == authority_of(objects)
        assert len(tls.shown) == 1

    asyncio.run(scene())


def test_new_names_make_a_new_one() -> None:
    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        await keeper(objects, clock)[0].look()
        made, tls = keeper(objects, clock)
        made._settings = TlsSettings(None, "hook-tls", (*NAMES, "10.0.0.1"), "hook", overlap=300.0)
        running = asyncio.create_task(made.run())
        await clock.advance(400)
        assert "10.0.0.1" in read_certificate(tls.shown[-1]).names
        running.cancel()

    asyncio.run(scene())


def test_what_is_wrong_is_said_and_mended_by_itself() -> None:
    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        configuration = objects.there.pop(CONFIGURATION)
        made, tls = keeper(objects, clock)
        running = asyncio.create_task(made.run())
        await clock.advance(1)
        assert "no MutatingWebhookConfiguration hook" in made.fault
        assert len(tls.shown) == 1, "whoever believes it already is served"
        objects.there[CONFIGURATION] = configuration
        await clock.advance(6)
        assert made.fault == ""
        assert objects.believed
        running.cancel()

    asyncio.run(scene())


def test_a_secret_that_somebody_spoilt_is_made_anew() -> None:
    async def scene() -> None:
        objects, clock = Objects(), FakeClock()
        made, tls = keeper(objects, clock)
        await made.look()
        del objects.there[f"{SECRETS}/hook-tls"]["data"]["tls.key"]
        await made.look()
        assert len(tls.shown) == 2
        assert objects.believed == authority_of(objects)

    asyncio.run(scene())

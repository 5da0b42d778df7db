"""Events: the same is counted, much is bounded, and a failure costs nothing else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from object_api import ObjectApi, Thing, refused
from rolecall.daemons.controller.events import Recorder
from rolecall.daemons.controller.wire import Told
from rolecall.edges.telemetry import Log
from rolecall.mechanisms.metadata_proxy.secret_files import Resource
from rolecall.testing.fake_clock import FakeClock

EVENTS = "/api/v1/namespaces/shop/events"
APP = Resource("shop", "app", "uid-1", 1, "carts")


def recorder(clock: FakeClock) -> tuple[Recorder, ObjectApi]:
    numbers = iter(range(100_000))
    api = ObjectApi(clock)
    return Recorder(api, "one", clock=clock, suffix=lambda: str(next(numbers)), log=Log("rolecall.test")), api


def events(api: ObjectApi) -> list[Thing]:
    return list(api.objects.values())


def test_one_event() -> None:
    """Its fields are those that kubectl and the original's alerts read."""

    async def scenario() -> None:
        tell, api = recorder(FakeClock())
        await tell.tell(Told(APP, "GetCredentialsFailed", "x" * 2000))
        (event,) = events(api)
        about = {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole", "namespace": "shop", "name": "app"}
        assert event["involvedObject"] == {**about, "uid": "uid-1"}
        assert (event["type"], event["reason"], event["count"]) == ("Warning", "GetCredentialsFailed", 1)
        assert event["source"] == {"component": "kube-aws-iam-controller"}
        assert event["firstTimestamp"] == event["lastTimestamp"] == "2023-11-14T22:13:20Z"
        assert len(event["message"]) == 1024

    asyncio.run(scenario())


def test_a_long_name() -> None:
    """An Event's name is one that the API server takes, wherever the AWSIAMRole's is cut."""

    async def scenario() -> None:
        tell, api = recorder(FakeClock())
        await tell.tell(Told(Resource("shop", "a" * 199 + "-" + "b" * 50, "uid-1", 1, "carts"), "RoleRefused", "no"))
        assert [one["metadata"]["name"] for one in events(api)] == ["a" * 199 + ".0"]

    asyncio.run(scenario())


def test_the_same_is_counted() -> None:
    """Once in five minutes, in the Event that is there, in a new one where it has gone; another message is another."""

    async def scenario() -> None:
        clock = FakeClock()
        tell, api = recorder(clock)
        for _ in range(10):
            await tell.tell(Told(APP, "RoleRefused", "no"))
            await clock.advance(60.0)
        (event,) = events(api)
        assert event["count"] == 2
        assert event["lastTimestamp"] == "2023-11-14T22:18:20Z"
        api.objects.clear()  # an hour later it has gone
        await clock.advance(3600.0)
        await tell.tell(Told(APP, "RoleRefused", "no"))
        await tell.tell(Told(APP, "RoleRefused", "not that either"))
        assert [one["count"] for one in events(api)] == [1, 1]

    asyncio.run(scenario())


def test_one_object_cannot_flood() -> None:
    """25 at once, then one in five minutes; another object's are not touched by that."""

    async def scenario() -> None:
        clock = FakeClock()
        tell, api = recorder(clock)
        for number in range(1000):
            await tell.tell(Told(APP, "RoleRefused", f"no {number}"))
        assert len(events(api)) == 25
        await tell.tell(Told(Resource("shop", "web", "uid-2", 1, "web"), "RoleRefused", "no"))
        assert len(events(api)) == 26
        await clock.advance(301.0)
        await tell.tell(Told(APP, "RoleRefused", "no again"))
        assert len(events(api)) == 27

    asyncio.run(scenario())


def test_a_failure_is_counted_only() -> None:
    """An API server that takes no Events keeps no credentials from anybody."""

    async def scenario() -> None:
        tell, api = recorder(FakeClock())
        faults: Any = lambda _method, _path: refused(403, "Forbidden")  # noqa: E731
        api.fail = faults
        await tell.tell(Told(APP, "RoleRefused", "no"))
        assert (tell.failures, tell.told) == ({"Forbidden": 1}, {})
        assert json.dumps(events(api)) == "[]"

    asyncio.run(scenario())

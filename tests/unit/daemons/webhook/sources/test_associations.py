"""Associations of a server: whole lists again and again, and single questions in between. In virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rolecall.core.exchange import Request
from rolecall.core.names import ClusterName
from rolecall.daemons.webhook.sources.associations import EVERY, ServerAssociations
from rolecall.daemons.webhook.sources.look_ups import LookUpRules
from rolecall.edges.http_call import CallFailed
from rolecall.edges.http_client import HttpAnswer
from rolecall.edges.telemetry import Log
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock

PATH = "/base/clusters/c/pod-identity-associations"


class Server:
    """Answers as ListPodIdentityAssociations does (EKS API Reference), two on a page; `fails` in place of that."""

    def __init__(self) -> None:
        self.held: list[tuple[str, str]] = []
        self.asked: list[dict[str, str]] = []
        self.fails: HttpAnswer | Exception | None = None
        self.endless = False

    async def call(self, method: str, url: str, headers: Any, **_: Any) -> HttpAnswer:
        assert (method, urlsplit(url).path) == ("GET", PATH)
        assert ("authorization", "proof") in headers
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.asked.append(query)
        if isinstance(self.fails, Exception):
            raise self.fails
        if self.fails is not None:
            return self.fails
        chosen = [one for one in self.held if query.get("serviceAccount") in (None, one[1])]
        begin = 0 if self.endless else int(query.get("nextToken", "0"))
        page = [
            {"clusterName": "c", "namespace": space, "serviceAccount": name, "associationId": f"a-{name}"}
            for space, name in chosen[begin : begin + 2]
        ]
        more = {"nextToken": str(begin + 2)} if self.endless or chosen[begin + 2 :] else {}
        return HttpAnswer(200, (), json.dumps({"associations": page, **more}).encode())


async def proved(request: Request) -> Request:
    return Request(request.method, request.target, (*request.headers, ("authorization", "proof")), request.body)


def of(server: Server, clock: FakeClock) -> ServerAssociations:
    return ServerAssociations(
        "https://server.test/base/", ClusterName("c"), http=server, authentication=proved, clock=clock, log=Log(),
        rules=LookUpRules(), dice=lambda: 0.5,
    )  # fmt: skip


def test_lists_follow_the_server() -> None:
    """Every page counts, and the next list, two seconds later, replaces what was held."""

    async def scene() -> None:
        server, clock = Server(), FakeClock()
        server.held = [("shop", name) for name in "abcde"]
        source = of(server, clock)
        running = asyncio.create_task(source.run())
        await clock.advance(0)
        assert source.listed.is_set()
        assert (len(source), source.find("shop", "e"), source.find("other", "e")) == (5, "a-e", None)
        assert [query.get("nextToken") for query in server.asked] == [None, "2", "4"]
        server.held = [("shop", "f")]
        await clock.advance(EVERY)
        assert (source.find("shop", "f"), source.find("shop", "e"), len(source)) == ("a-f", None, 1)
        running.cancel()

    asyncio.run(scene())


def test_one_is_asked_for_by_both_its_names() -> None:
    async def scene() -> None:
        server, clock = Server(), FakeClock()
        source = of(server, clock)
        await source.look()
        server.held = [("other", "a"), ("more", "a"), ("shop", "a")]
        assert await source.look_up("shop", "a") == "a-a"
        assert await source.look_up("nowhere", "a") is None
        assert server.asked[1] == {"maxResults": "100", "namespace": "shop", "serviceAccount": "a"}

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (HttpAnswer(404, (("x-amzn-errortype", "ResourceNotFoundException"),), b'{"message":"No cluster c."}'), "No c"),
        (HttpAnswer(403, (), b'{"__type":"AccessDeniedException","message":"no"}'), "AccessDeniedException"),
        (HttpAnswer(200, (), b"<html>"), "cannot be read"),
        (CallFailed("https://server.test", "refused"), "refused"),
    ],
)
def test_a_server_that_fails_changes_nothing_and_is_known_to(fails: HttpAnswer | Exception, said: str) -> None:
    """What was listed stays; before the first list nothing is listed, so that nobody is let through."""

    async def scene() -> None:
        server, clock = Server(), FakeClock()
        server.fails = fails
        source = of(server, clock)
        running = asyncio.create_task(source.run())
        await clock.advance(0)
        assert (source.listed.is_set(), source.live) == (False, False)
        assert said in source.fault
        server.fails, server.held = None, [("shop", "a")]
        await clock.advance(EVERY)
        assert (source.listed.is_set(), source.live, source.fault) == (True, True, "")
        server.fails = fails
        await clock.advance(EVERY)
        assert (source.find("shop", "a"), source.live) == ("a-a", False)
        with pytest.raises(Upstream):
            await source.look_up("shop", "b")
        running.cancel()

    asyncio.run(scene())


def test_a_list_without_an_end_is_given_up() -> None:
    """A server that leads in a circle takes neither our memory nor our time."""

    async def scene() -> None:
        server, clock = Server(), FakeClock()
        server.endless, server.held = True, [("shop", "a"), ("shop", "b")]
        source = of(server, clock)
        await source.look()
        assert "for ever" in source.fault
        assert len(server.asked) == 2

    asyncio.run(scene())


def test_an_empty_page_may_lead_on() -> None:
    """AWS's lists may have such pages where they are narrowed down."""

    async def scene() -> None:
        server, clock = Server(), FakeClock()
        server.held = [("shop", "a")]
        empty = HttpAnswer(200, (), b'{"associations":[],"nextToken":"0"}')
        source = of(server, clock)
        whole = server.call

        async def call(method: str, url: str, headers: Any, **how: Any) -> HttpAnswer:
            return await whole(method, url, headers, **how) if "nextToken" in url else empty

        server.call = call
        assert await source.look_up("shop", "a") == "a-a"

    asyncio.run(scene())


def test_a_list_has_an_end_in_time() -> None:
    async def scene() -> None:
        server, clock = Server(), FakeClock()

        async def hang(*_: Any, **__: Any) -> HttpAnswer:
            await clock.sleep(1e9)
            raise AssertionError

        server.call = hang
        source = of(server, clock)
        looking = asyncio.create_task(source.look())
        await clock.advance(60)
        await looking
        assert (source.live, source.listed.is_set()) == (False, False)
        assert "within 60 s" in source.fault

    asyncio.run(scene())

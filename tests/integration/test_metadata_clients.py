"""botocore's own provider, unmodified, at the metadata door in every dialect: with tokens, without, and refused."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from botocore.utils import InstanceMetadataFetcher

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.credentials import Credentials
from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Grant, Refusal
from rolecall.core.names import AccountId, ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.records import ContainerFacts, PodFacts
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.telemetry import Log
from rolecall.errors import Refused
from rolecall.mechanisms.host_role import decide as host_role
from rolecall.mechanisms.host_role import door as host_door
from rolecall.mechanisms.host_role.identify import identify
from rolecall.mechanisms.imds.door import Gate
from rolecall.mechanisms.metadata_proxy import door
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.deny import DenyDialect
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.kube2iam import Kube2iamDialect
from rolecall.mechanisms.metadata_proxy.metadataproxy import MetadataproxyDialect
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam, Metadataproxy

BASE = "arn:aws:iam::123456789012:role/"
HERE = "127.0.0.1"
CLOCK = SystemClock()
POD = PodFacts(ClusterName("c"), Namespace("n"), "a", "u1", ServiceAccountName("s"), "node-1", HERE)
POD_FACTS = Facts(
    AtPodIp(HERE, POD), {"iam.amazonaws.com/role": "team/mine"}, {"iam.amazonaws.com/permitted": ".*mine"}
)
CONTAINER = ContainerFacts("c1", "web", frozenset({HERE}), {"IAM_ROLE": "team/mine"})
DIALECTS: dict[str, tuple[Dialect, Facts]] = {
    "kube2iam": (Kube2iamDialect(Kube2iam(base=BASE)), POD_FACTS),
    "kiam": (KiamDialect(Kiam(base=BASE)), POD_FACTS),
    "metadataproxy": (
        MetadataproxyDialect(Metadataproxy(account="123456789012")),
        Facts(AtContainerIp(HERE, CONTAINER)),
    ),
}


def issued(role: RoleArn) -> Issued:
    """Return credentials whose key says which role they are of."""
    found = Credentials(f"ASIA-{role.name}", Secret("s"), Secret("t"), CLOCK.now() + 3600, AccountId("123456789012"))
    return Issued(found, role.session("x"), "AROA:x")


@dataclass
class Door:
    """A door in a dialect, for one caller; `required` shuts version 1 out."""

    dialect: Dialect
    facts: Facts
    required: bool = False

    def __call__(self, request: Request) -> Reply:
        gate = Gate(Secret("key"), request.peer, self.required, frozenset({HERE}))
        asked = door.parse(request, gate, self.dialect, now=CLOCK.now())
        if isinstance(asked, Reply):
            return asked
        if asked.what == "listing":
            named = self.dialect.listing(self.facts)
            if isinstance(named, Refusal):
                return self.dialect.render_refusal(asked, request.peer, named)
            return self.dialect.render_listing(named)
        decision = self.dialect.decide(asked, self.facts)
        if isinstance(decision, Grant):
            return self.dialect.render(asked, issued(decision.role), CLOCK.now())
        return self.dialect.render_refusal(asked, request.peer, decision)


def host_role_door(request: Request) -> Reply:
    """Answer as the door of generation 0, asked for by name."""
    role = RoleArn.parse(f"{BASE}node-role")
    gate = Gate(Secret("key"), request.peer, hosts=frozenset({HERE}))
    asked = host_door.parse(request, gate, allowed=(), now=CLOCK.now())
    if isinstance(asked, Reply):
        return asked
    decision = host_role.decide(asked, host_role.Facts(identify("node-1"), True, role, "i-0abc"))
    if isinstance(decision, Refusal):
        return host_door.render_error(Refused(decision))
    return host_door.render(asked, issued(role), role=role.name, now=CLOCK.now())


@contextmanager
def serving(handler: Door | None) -> Iterator[str]:
    """Serve a door in a thread, by the agent's own server; yield its URL. None is the host role's."""
    listener = socket.create_server((HERE, 0))
    loop = asyncio.new_event_loop()
    server = HttpServer(handler or host_role_door, clock=CLOCK, limits=ServerLimits(), log=Log("test"))
    loop.run_until_complete(server.listen(listener))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://{HERE}:{listener.getsockname()[1]}/"
    finally:
        asyncio.run_coroutine_threadsafe(server.close(0.0), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def fetched(url: str, *, v1: bool = True) -> dict[str, str]:
    """Return what botocore's provider finds, with its own time-outs and attempts."""
    config = {"ec2_metadata_v1_disabled": not v1}
    found: dict[str, str] = InstanceMetadataFetcher(base_url=url, config=config).retrieve_iam_role_credentials()
    return found


@pytest.mark.parametrize("required", [False, True], ids=["optional", "required"])
@pytest.mark.parametrize("name", DIALECTS)
def test_it_gets_its_own_role(name: str, required: bool) -> None:
    """By version 2, in every dialect, a role with a path too."""
    dialect, facts = DIALECTS[name]
    with serving(Door(dialect, facts, required)) as url:
        found = fetched(url, v1=False)
    assert (found["role_name"], found["access_key"], found["token"]) == ("team/mine", "ASIA-mine", "t")


def test_the_host_role_is_everybodys() -> None:
    """Generation 0: whoever asks is the node."""
    with serving(None) as url:
        assert fetched(url)["access_key"] == "ASIA-node-role"


def test_deny_is_an_instance_without_a_role() -> None:
    """The provider finds nothing, quickly, and the chain goes on."""
    with serving(Door(DenyDialect(), POD_FACTS)) as url:
        assert fetched(url) == {}


def test_version_1_still_works_where_it_is_let_in() -> None:
    """A client from before tokens: two plain requests."""
    dialect, facts = DIALECTS["kube2iam"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with serving(Door(dialect, facts)) as url:
        roles = f"{url}latest/meta-data/iam/security-credentials/"
        with opener.open(roles, timeout=20) as listing:
            role = listing.read().decode()
        with opener.open(roles + role, timeout=20) as document:
            assert b'"AccessKeyId":"ASIA-mine"' in document.read()

"""A metadata door with fakes around it: pods that a test puts, an STS that says what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Hop
from rolecall.core.names import RoleArn
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued
from rolecall.daemons.agent.metadata.corridor import MetadataCorridor, Terms
from rolecall.daemons.agent.metadata.granted import Granted, sts_source
from rolecall.daemons.agent.metadata.pods_by_ip import NamespaceHere, PodHere, PodsByIp, keeping_pods
from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.daemons.agent.metadata.tally import Tally
from rolecall.edges.kube.wire import pod_of
from rolecall.edges.telemetry import Log
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import issued

BASE = "arn:aws:iam::123456789012:role/"
ROLES = "/latest/meta-data/iam/security-credentials/"
KUBE2IAM = MetadataSettings(dialect="kube2iam", kube2iam=Kube2iam(base=BASE))


class FakeSts:
    """Gives the session that is asked for, after `delay` seconds, or raises `failure`. `asked` has every hop."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.delay, self.asked = clock, 0.0, list[Hop]()
        self.failure: Exception | None = None

    async def __call__(self, hop: Hop) -> Issued:
        self.asked.append(hop)
        await self.clock.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        return issued(f"{hop.role.name}.{len(self.asked)}", self.clock.now() + hop.session.duration)


class FakeDocuments:
    """Has one document, and notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def held(self, name: str) -> bytes | None:
        return None

    async def __call__(self, name: str) -> bytes | None:
        self.asked.append(name)
        return b"eu-central-1" if name == "meta-data/placement/region" else None


class World:
    """The door of a node, in virtual time."""

    def __init__(self, settings: MetadataSettings = KUBE2IAM, **terms: Any) -> None:
        self.clock = FakeClock()
        self.sts = FakeSts(self.clock)
        self.documents = FakeDocuments()
        self.tally = Tally(self.clock, Log("rolecall.test_metadata"))
        self.granted = Granted(
            sts_source(self.sts), size=2000, qps=3.0, clock=self.clock, log=Log("rolecall.test_metadata"),
            told=self.tally.landed,
            dice=lambda: 0.0,
        )  # fmt: skip
        self.pods = PodsByIp(self.clock, self.granted.forget, needs_namespace=settings.asks_namespaces)
        self._kept = keeping_pods(settings.keys(), None)
        self.corridor = MetadataCorridor(
            settings.manners(),
            self.pods if settings.assumes else None,
            self.granted,
            self.documents,
            Terms(Secret("k"), **terms),
            clock=self.clock,
            tally=self.tally,
        )

    def pod(self, uid: str, *addresses: str, role: str = "", **more: Any) -> PodHere:
        """Return a pod as the watch keeps it; `more` are members of its status, or `deleted`, `host`, `annotations`."""
        annotations = {"iam.amazonaws.com/role": role} if role else {}
        meta: dict[str, Any] = {"name": f"pod-{uid}", "namespace": more.pop("namespace", "default"), "uid": uid}
        if more.pop("deleted", False):
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        meta["annotations"] = {**annotations, **more.pop("annotations", {})}
        document = {
            "metadata": meta,
            "spec": {"nodeName": "node-1", "hostNetwork": more.pop("host", False)},
            "status": {"phase": more.pop("phase", "Running"), "podIPs": [{"ip": address} for address in addresses]},
        }
        assert not more
        return self._kept(pod_of(json.dumps(document).encode()))

    def put(self, uid: str, *addresses: str, role: str = "", **more: Any) -> PodHere:
        """Have the watch tell of a pod."""
        found = self.pod(uid, *addresses, role=role, **more)
        self.pods.put(found)
        return found

    def namespace(self, name: str, **annotations: str) -> None:
        """Have the watch tell of a namespace; underscores stand for what names of arguments cannot have."""
        self.pods.namespaces.put(NamespaceHere(name, annotations))

    async def ask(self, peer: str, path: str, method: str = "GET", **headers: str) -> Reply:
        """Return the door's reply to a request."""
        named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
        found = self.corridor(Request(method, path, (("host", "169.254.169.254"), *named), peer=peer))
        return found if isinstance(found, Reply) else await found

    async def role_of(self, peer: str, role: str) -> str | int:
        """Return the name of the role whose credentials are given for this one, or the status."""
        reply = await self.ask(peer, ROLES + role)
        if reply.status != 200:
            return reply.status
        token: str = json.loads(reply.body)["Token"]
        return token.removeprefix("session-of-").rpartition(".")[0]


def arn(name: str) -> RoleArn:
    """Return the ARN of a role below the base."""
    return RoleArn.parse(BASE + name)


def run(work: Any, *, seconds: float = 0.0, clock: FakeClock | None = None) -> Any:
    """Return what a coroutine brings, having let so many virtual seconds pass."""

    async def both() -> Any:
        task = asyncio.ensure_future(work)
        if clock is not None:
            await clock.advance(seconds)
        return await task

    return asyncio.run(both())


def headers_of(reply: Reply) -> Mapping[str, str]:
    """Return a reply's headers by name."""
    return dict(reply.headers)

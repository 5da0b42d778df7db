"""kube2iam's own pages (legacy-proxies.md §5.3)."""

from __future__ import annotations

import asyncio
import json

from rolecall.daemons.agent.metadata.pages import health, store
from rolecall.errors import Upstream
from unit.daemons.agent.metadata.world import KUBE2IAM, FakeDocuments, World


class Instance(FakeDocuments):
    """Has an id, or is silent."""

    silent = False

    async def __call__(self, name: str) -> bytes | None:
        if self.silent:
            raise Upstream("no answer")
        return b"i-0123" if name == "meta-data/instance-id" else None


def test_it_lives_also_where_the_nodes_service_is_silent() -> None:
    """Both members; a restart would mend nothing (R-12)."""
    node = Instance()
    reply = asyncio.run(health(("0.0.0.0",), node))
    assert (reply.status, json.loads(reply.body)) == (200, {"hostIP": "", "instanceId": "i-0123"})
    node.silent = True
    reply = asyncio.run(health(("10.1.2.3",), node))
    assert (reply.status, json.loads(reply.body)) == (200, {"hostIP": "10.1.2.3", "instanceId": ""})


def test_the_store_is_what_is_known() -> None:
    """The annotation as it is written, or nothing; namespaces with their patterns; nobody of the host's network."""
    world = World()
    world.put("a", "10.0.0.1", "fd00::1", role="reader")
    world.put("b", "10.0.0.2", namespace="other")
    world.put("h", "10.1.2.3", role="node", host=True)
    world.namespace("default", **{"iam.amazonaws.com/allowed-roles": '["read*"]'})
    world.namespace("other")
    assert json.loads(store(KUBE2IAM.kube2iam, world.pods).body) == {
        "namespaceByIP": {"10.0.0.1": "default", "fd00::1": "default", "10.0.0.2": "other"},
        "rolesByIP": {"10.0.0.1": "reader", "fd00::1": "reader", "10.0.0.2": ""},
        "rolesByNamespace": {"default": ["read*"]},
    }

"""Whatever happens, in whatever order: once it is quiet, each AWSIAMRole has what it should, and nobody else's Secret
was touched."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from object_api import Thing, refused
from rolecall.edges.http_call import CallFailed
from unit.daemons.controller.test_reconcile import BASE, LIST, ROLES, SECRETS, Cluster, denial

NAMES, REFERENCES = ("a", "b", "c"), ("r-1", "r-2", "s-1")
LISTS = (None, '["r-*"]', '["s-1", "r-1"]', "[]", '["*"]')
PERMITTED = {
    None: set(REFERENCES), '["r-*"]': {"r-1", "r-2"}, '["s-1", "r-1"]': {"s-1", "r-1"}, "[]": set(),
    '["*"]': set(REFERENCES),
}  # fmt: skip


class Weather:
    """Does what a cluster, its people and AWS do, by a seed."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster, self.dice = cluster, random.Random(seed)
        self.foreign: dict[str, Thing] = {}
        self.listed: str | None = None
        self.bad = 0.0
        self.generation = 0
        cluster.api.fail = self._fail

    def _fail(self, method: str, path: str) -> Exception | None:
        if self.dice.random() >= self.bad:
            return None
        return self.dice.choice([refused(500, "Internal"), refused(409, "Conflict"), CallFailed("api", "refused")])

    def step(self) -> float:
        """Do one thing; return the seconds until the next."""
        cluster, dice, name = self.cluster, self.dice, self.dice.choice(NAMES)
        role, secret = f"{ROLES}/{name}", f"{SECRETS}/{name}"
        match dice.randrange(11):
            case 0 | 1 | 2:
                self.generation += 1
                cluster.ask(dice.choice(REFERENCES), name, generation=self.generation)
            case 3 if role in cluster.api.objects:
                cluster.api.drop(role)
            case 4 if secret in cluster.api.objects:
                self.foreign.pop(name, None)
                cluster.api.drop(secret)
            case 5 if secret in cluster.api.objects and name not in self.foreign:
                spoilt = json.loads(json.dumps(cluster.api.objects[secret]))
                spoilt["data"].pop(dice.choice(sorted(spoilt["data"])), None)
                cluster.api.put(SECRETS, spoilt)
            case 6 if secret not in cluster.api.objects:
                thing = {"metadata": {"name": name}, "data": {"password": "eHl6enk="}}
                self.foreign[name] = json.loads(json.dumps(cluster.api.put(SECRETS, thing)))
            case 7:
                self.listed = dice.choice(LISTS)
                cluster.namespaces.put(("shop", self.listed))
            case 8:
                cluster.denied = {one: denial() for one in REFERENCES if dice.random() < 0.3}
            case 9:
                self.bad, cluster.lag = dice.choice([0.0, 0.0, 0.3, 0.9]), dice.choice([0.0, 0.0, 2.0, 20.0])
            case 10:  # another replica leads from now on
                cluster.queue.drop_all()
                for key in [("shop", one) for one in NAMES]:
                    cluster.queue.add(key)
        return dice.choice([0.0, 0.05, 0.15, 1.0, 30.0, 900.0])

    async def clear_up(self) -> None:
        """Let nothing go wrong any more, for as long as the longest back-off and the slowest look."""
        self.bad, self.cluster.lag = 0.0, 0.0
        self.cluster.denied = {}
        await self.cluster.clock.advance(1300.0)

    def untouched(self) -> bool:
        """Whether every Secret of somebody else is as they made it."""
        return all(self.cluster.api.objects.get(f"{SECRETS}/{name}") == thing for name, thing in self.foreign.items())

    def wanted(self, name: str) -> str | None:
        """Return the role that a Secret should be of; None for no Secret."""
        thing: dict[str, Any] | None = self.cluster.api.objects.get(f"{ROLES}/{name}")
        if thing is None or name in self.foreign:
            return None
        reference = str(thing["spec"]["roleReference"])
        return reference if reference in PERMITTED[self.listed] else None


@pytest.mark.parametrize("seed", range(3))
def test_it_comes_out_right(seed: int) -> None:
    """Fifty things happen, then it is quiet."""

    async def scenario(cluster: Cluster) -> None:
        assert cluster.reconciler._rules.namespace_key == LIST
        weather = Weather(cluster, seed)
        for _ in range(50):
            pause = weather.step()
            await cluster.clock.advance(pause)
            assert weather.untouched()
        await weather.clear_up()
        assert weather.untouched()
        for name in NAMES:
            wanted, role = weather.wanted(name), cluster.api.objects.get(f"{ROLES}/{name}")
            if name in weather.foreign:
                continue
            assert cluster.has(name) == (wanted is not None), (name, wanted)
            if wanted is not None and role is not None:
                secret = cluster.api.objects[f"{SECRETS}/{name}"]
                assert secret["metadata"]["ownerReferences"][0]["uid"] == role["metadata"]["uid"]
                found = cluster.secret(name)
                assert len(found) == 6
                assert (found["role-arn"], found["awsiamrole-generation"]) == (
                    BASE + wanted, str(role["metadata"]["generation"]),
                )  # fmt: skip
                assert cluster.ready(name) == ("True", "CredentialsIssued")
                assert cluster.status(name)["expiration"] == found["expire"]
        assert "crash" not in cluster.queue.failures

    Cluster().run(scenario)

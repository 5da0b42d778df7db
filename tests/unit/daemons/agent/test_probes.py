"""What the probes say, and metrics as Prometheus' own parser reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rolecall import __version__
from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.daemons.agent.build import Agent, build
from rolecall.daemons.agent.config import read_config
from rolecall.daemons.agent.listeners import Listeners
from rolecall.daemons.agent.probes import Probes
from rolecall.edges.cache import CredentialCache
from rolecall.edges.telemetry import Log
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

ENV = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}


@dataclass
class World:
    """An agent that is put together and has opened nothing, and its probes."""

    agent: Agent
    listeners: Listeners
    clock: FakeClock
    probes: Probes

    def get(self, path: str) -> Reply:
        """Ask a probe."""
        return self.probes(Request("GET", path, ()))

    def said(self, path: str) -> tuple[int, dict[str, object]]:
        """Ask a probe that answers with JSON."""
        reply = self.get(path)
        assert dict(reply.headers)["content-type"] == "application/json"
        return reply.status, json.loads(reply.body)

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return the samples by name and labels."""
        reply = self.get("/metrics")
        assert dict(reply.headers)["content-type"].startswith("text/plain; version=0.0.4")
        found = {}
        for family in text_string_to_metric_families(reply.body.decode()):
            assert family.type in ("counter", "gauge", "histogram"), family.name
            assert family.documentation, family.name
            for sample in family.samples:
                key = sample.name, tuple(sample.labels.items())
                assert key not in found
                found[key] = sample.value
        return found


@pytest.fixture
def world() -> Iterator[World]:
    """One for each test."""
    config = read_config(["serve", "-c", "demo"], ENV)
    clock = FakeClock()
    agent = build(config, clock, Log())
    listeners = Listeners(config, clock, Log())
    listeners.bound = {"169.254.170.23": "169.254.170.23:80"}
    yield World(agent, listeners, clock, Probes(agent, listeners))
    agent.http.close()


def test_healthy_is_not_ready(world: World) -> None:
    """A door that is not open yet, or not any more, is no reason to restart the process."""
    ready = {"ready": True, "faults": [], "doors": ["169.254.170.23:80"], "not_bound": {}}
    assert world.said("/healthz") == (200, {"healthy": True, "faults": []})
    assert world.said("/readyz") == (200, ready)
    assert world.said("/readyz?verbose") == (200, ready)
    world.listeners.stopping = True
    assert world.said("/healthz")[0] == 200
    assert world.said("/readyz") == (503, ready | {"ready": False, "faults": ["the agent is stopping"]})
    world.listeners.stopping, world.listeners.bound = False, {}
    assert world.said("/healthz")[0] == 200
    status, said = world.said("/readyz")
    assert (status, said["faults"]) == (503, ["the door is not open"])


def test_a_node_without_ipv6_is_ready_and_says_so(world: World) -> None:
    """In readiness and in metrics."""
    world.listeners.not_bound = {"fd00:ec2::23": "cannot listen on fd00:ec2::23:80"}
    status, said = world.said("/readyz")
    assert (status, said["not_bound"]) == (200, {"fd00:ec2::23": "cannot listen on fd00:ec2::23:80"})
    found = world.metrics()
    assert found["rolecall_agent_door_bound", (("host", "169.254.170.23"),)] == 1
    assert found["rolecall_agent_door_bound", (("host", "fd00:ec2::23"),)] == 0


def test_an_agent_whose_renewer_is_gone_is_not_healthy(world: World) -> None:
    """A restart mends it; meanwhile it is still ready, for what it holds is good."""

    async def story() -> None:
        world.agent.start()
        await asyncio.sleep(0)
        assert world.said("/healthz")[0] == 200
        (renewer,) = [task for task in asyncio.all_tasks() if task.get_name() == "cache.renewer"]
        renewer.cancel()
        await asyncio.gather(renewer, return_exceptions=True)
        assert world.said("/healthz") == (503, {"healthy": False, "faults": ["the renewer has ended"]})
        assert world.said("/readyz")[0] == 200
        await world.agent.close()
        assert world.said("/healthz")[0] == 200, "it was told to end"

    asyncio.run(story())


@pytest.mark.parametrize("path", ["/", "/v1/credentials", "/healthz/", "/status"])
def test_nothing_else_is_here(world: World, path: str) -> None:
    """Neither the door nor the admin socket."""
    assert world.get(path).status == 404


def test_metrics_tell_what_was_counted(world: World) -> None:
    """And no word of an upstream can break a line."""
    counted = world.agent.cache.counters
    world.agent.corridor.replies.update({200: 7, 400: 2})
    world.agent.corridor.refusals.update({"no-token": 2})
    for word, seconds in (("ok", 0.3), ("ok", 0.04), ('evil"} 9\n# TYPE x\\', 7.0)):
        world.agent.calls.told(word, seconds)
    counted.hits, counted.misses, counted.renewals, counted.evictions = 5, 4, 3, 2
    counted.renew_failures.update({"AccessDenied": 4, "ExpiredTokenException": 1})
    counted.dropped.update({"ExpiredTokenException": 1})
    world.agent.corridor.unwritten, world.agent.audit.unwritten = 10, 1
    found = world.metrics()
    wanted = {
        ("rolecall_agent_replies_total", (("code", "200"),)): 7,
        ("rolecall_agent_refusals_total", (("reason", "no-token"),)): 2,
        ("rolecall_agent_upstream_total", (("code", "ok"),)): 2,
        ("rolecall_agent_upstream_total", (("code", 'evil"} 9\n# TYPE x\\'),)): 1,
        ("rolecall_agent_upstream_duration_seconds_bucket", (("le", "0.1"),)): 1,
        ("rolecall_agent_upstream_duration_seconds_bucket", (("le", "0.5"),)): 2,
        ("rolecall_agent_upstream_duration_seconds_count", ()): 3,
        ("rolecall_agent_cache_hits_total", ()): 5,
        ("rolecall_agent_cache_misses_total", ()): 4,
        ("rolecall_agent_renewals_total", ()): 3,
        ("rolecall_agent_renewal_failures_total", (("code", "AccessDenied"),)): 4,
        ("rolecall_agent_evictions_total", ()): 2,
        ("rolecall_agent_log_lines_unwritten_total", ()): 11,
        # Under the names of AWS's agent (aws-pod-identity.md §1.8), whose "hit" is a renewal that succeeded.
        ("pod_identity_http_response_total", (("code", "400"),)): 2,
        ("pod_identity_cache_state_total", (("state", "miss"),)): 4,
        ("pod_identity_cache_state_total", (("state", "hit"),)): 3,
        ("pod_identity_cache_state_total", (("state", "evicted"),)): 2,
        ("pod_identity_cache_errors_total", (("type", "Recoverable"), ("code", "AccessDenied"))): 4,
        ("pod_identity_cache_errors_total", (("type", "NonRecoverable"), ("code", "ExpiredTokenException"))): 1,
    }
    assert {key: found.get(key) for key in wanted} == wanted
    ((_, build_info),) = [key for key in found if key[0] == "rolecall_build_info"]
    assert dict(build_info)["version"] == __version__


def test_the_names_are_those_of_awss_agent(world: World) -> None:
    """As they are written, which is what dashboards ask for: no parser's own ending."""
    text = world.get("/metrics").body.decode()
    for name in ("pod_identity_http_response", "pod_identity_cache_state", "pod_identity_cache_errors"):
        assert f"# TYPE {name} counter\n" in text


def test_answers_out_of_the_cache_are_in_the_lowest_bucket(world: World) -> None:
    """No clock is read for them; those that waited are where they belong."""
    corridor = world.agent.corridor
    corridor.replies.update({200: 1000})
    for seconds in (0.2, 3.0):
        corridor.waited.observe(seconds)
    found = world.metrics()
    name = "rolecall_agent_request_duration_seconds"
    assert found[f"{name}_bucket", (("le", "0.001"),)] == 998
    assert found[f"{name}_bucket", (("le", "0.25"),)] == 999
    assert found[f"{name}_bucket", (("le", "+Inf"),)] == found[f"{name}_count", ()] == 1000
    assert found[f"{name}_sum", ()] == 3.2


def test_the_cache_is_told_by_state_and_age(world: World) -> None:
    """Zeros where nothing is held, and no age of nothing."""
    before = world.metrics()
    assert before["rolecall_agent_cache_entries", (("state", "fresh"),)] == 0
    assert ("rolecall_agent_cache_oldest_seconds", ()) not in before
    world.agent.cache = CredentialCache(FakeSource(world.clock, life=3600), clock=world.clock, dice=lambda: 0.0)
    asyncio.run(hold(world))
    found = world.metrics()
    assert found["rolecall_agent_cache_entries", (("state", "fresh"),)] == 1
    assert found["rolecall_agent_cache_oldest_seconds", ()] == 60
    assert found["rolecall_agent_cache_soonest_end_seconds", ()] == 3600 - 15 - 60


async def hold(world: World) -> None:
    """Have the cache hold one entry, for a minute."""
    await world.agent.cache(Ask(token=Secret("t"), peer="10.0.0.7"))
    await world.clock.advance(60)

"""The agent's parts: which cluster is asked, what the probes say, and metrics as Prometheus reads them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from rolecall.core.exchange import Reply, Request
from rolecall.core.names import ClusterName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.daemons.agent.build import Agent, build, probes
from rolecall.daemons.agent.config import read_config
from rolecall.daemons.agent.routing import ClusterByIssuer, OnThisNode
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, Misconfigured
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource

ENV = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}


def ask(**claims: Any) -> Ask:
    """Return an ask with a token of these claims; nothing here verifies it."""
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), "k" * 64, algorithm="HS256")
    return Ask(token=Secret(token), peer="10.0.0.7")


@pytest.fixture
def agent() -> Iterator[Agent]:
    """An agent that is put together, and has not opened anything."""
    made = build(read_config(["serve", "-c", "demo"], ENV), FakeClock(), Log())
    yield made
    made.http.close()


@pytest.mark.parametrize(
    ("claims", "served"),
    [
        ({"kubernetes.io": {"node": {"name": "here"}}}, True),
        ({"kubernetes.io": {"node": {"name": "there"}}}, False),
        ({"kubernetes.io": {"node": {"name": ["here"]}}}, False),
        ({"kubernetes.io": {"node": "here"}}, False),
        ({"kubernetes.io": []}, False),
        ({"kubernetes.io": {"node": {}}}, True),
        ({"kubernetes.io": {}}, True),
        ({}, True),
    ],
    ids=str,
)
def test_a_token_of_another_node_is_refused(claims: dict[str, Any], served: bool) -> None:
    """Before anybody is asked; one that names no node is upstream's to judge, one that cannot be read is refused."""
    source = FakeSource(FakeClock())
    guarded = OnThisNode(source, "here")
    if served:
        asyncio.run(guarded(ask(**claims)))
    else:
        with pytest.raises(BadInput, match="node"):
            asyncio.run(guarded(ask(**claims)))
    assert len(source.asked) == served


def test_the_tokens_issuer_chooses_the_cluster(tmp_path: Path) -> None:
    """Out of a file that is read as it is now: a cluster made while the agent runs is served at once."""
    path = tmp_path / "clusters.json"
    source = FakeSource(FakeClock())
    chosen = ClusterByIssuer(source, path)
    path.write_text(json.dumps({"https://one": "one"}))
    asyncio.run(chosen(ask(iss="https://one")))
    with pytest.raises(BadInput, match="https://two"):
        asyncio.run(chosen(ask(iss="https://two")))
    path.write_text(json.dumps({"https://one": "renamed", "https://two": "two"}))
    asyncio.run(chosen(ask(iss="https://one")))
    asyncio.run(chosen(ask(iss="https://two")))
    path.unlink()
    with pytest.raises(BadInput):
        asyncio.run(chosen(ask(iss="https://one")))
    assert [one.cluster for one in source.asked] == [ClusterName(name) for name in ("one", "renamed", "two")]
    assert {one.peer for one in source.asked} == {"10.0.0.7"}


@pytest.mark.parametrize(
    "asked", [ask(sub="x"), ask(iss=""), ask(iss=None), ask(iss=["x"]), Ask(token=Secret("no.token")), Ask(token=None)]
)
def test_a_token_without_a_known_issuer_asks_nobody(tmp_path: Path, asked: Ask) -> None:
    """Not even where a cluster is registered for an issuer that is called like nothing."""
    path = tmp_path / "clusters.json"
    path.write_text(json.dumps({"None": "trap", "": "trap"}))
    source = FakeSource(FakeClock())
    with pytest.raises(BadInput, match="not the issuer of any cluster"):
        asyncio.run(ClusterByIssuer(source, path)(asked))
    assert source.asked == []


def test_a_broken_clusters_file_is_the_operators_fault(tmp_path: Path) -> None:
    """Not the pod's: the door answers 500, and the log names the file."""
    path = tmp_path / "clusters.json"
    path.write_text("{")
    with pytest.raises(Misconfigured, match=r"clusters\.json"):
        asyncio.run(ClusterByIssuer(FakeSource(FakeClock()), path)(ask(iss="https://one")))


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://", "https://user@host", "https://host?x=1"])
def test_an_endpoint_that_cannot_be_called_is_refused(endpoint: str) -> None:
    """Before anything is opened."""
    with pytest.raises(Misconfigured):
        build(read_config(["serve", "-c", "demo", "--endpoint", endpoint], ENV), FakeClock(), Log())


@pytest.mark.parametrize(
    ("path", "serving", "status"),
    [
        ("/healthz", True, 200),
        ("/healthz", False, 200),
        ("/readyz", True, 200),
        ("/readyz", False, 503),
        ("/readyz?verbose", True, 200),
        ("/metrics", False, 200),
        ("/", True, 404),
        ("/v1/credentials", True, 404),
    ],
)
def test_probes(agent: Agent, path: str, serving: bool, status: int) -> None:
    """Alive as long as it answers, ready while it serves; the door's path is not here."""
    assert probes(agent, lambda: serving, Request("GET", path, ())).status == status


def test_metrics_are_what_prometheus_reads(agent: Agent) -> None:
    """One group for each name, types before samples, and no word of an upstream can break a line."""
    agent.corridor.replies.update({200: 7, 400: 2})
    agent.cache.counters.upstream.update({"ok": 3, 'evil"} 9\n# TYPE x\\': 1})
    agent.cache.counters.renew_failures["AccessDenied"] = 4
    reply = probes(agent, lambda: True, Request("GET", "/metrics", ()))
    assert dict(reply.headers)["content-type"].startswith("text/plain; version=0.0.4")
    found = parse_exposition(reply)
    assert found["rolecall_agent_replies_total", (("code", "200"),)] == 7
    assert found["pod_identity_http_response", (("code", "400"),)] == 2
    assert found["rolecall_agent_upstream_total", (("code", 'evil"} 9\n# TYPE x\\'),)] == 1
    assert found["rolecall_agent_renewal_failures_total", (("code", "AccessDenied"),)] == 4
    assert found["rolecall_agent_cache_entries", ()] == 0


# Prometheus, "Exposition formats": text-based format, version 0.0.4.
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_VALUE = r'"((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(
    rf"({_NAME})(?:\{{((?:[a-zA-Z_][a-zA-Z0-9_]*={_VALUE},?)*)\}})? ([0-9.e+-]+|NaN|[+-]Inf)( -?[0-9]+)?"
)
_LABEL = re.compile(rf"([a-zA-Z_][a-zA-Z0-9_]*)={_VALUE}")
_TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}
Labels = tuple[tuple[str, str], ...]


def parse_exposition(reply: Reply) -> dict[tuple[str, Labels], float]:
    """Return the samples by name and labels, or fail at what the format forbids."""
    text = reply.body.decode()
    assert text.endswith("\n")
    found: dict[tuple[str, Labels], float] = {}
    typed: dict[str, str] = {}
    helped: set[str] = set()
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed
            assert kind in _TYPES
            typed[name] = kind
        else:
            sample = _SAMPLE.fullmatch(line)
            assert sample, line
            name = sample[1]
            assert name == list(typed)[-1], "samples stand together, below their type"
            labels = tuple((key, _unquoted(value)) for key, value in _LABEL.findall(sample[2] or ""))
            assert (name, labels) not in found
            found[name, labels] = float(sample[4])
    assert typed.keys() == helped
    return found


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), text)

"""The agent's parts: which cluster is asked, whose token is refused, what cannot be built."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from rolecall.core.names import ClusterName
from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.daemons.agent.build import build
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

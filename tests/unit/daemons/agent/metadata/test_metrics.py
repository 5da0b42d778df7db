"""What the metadata door counts is in its reference, and nothing else is said to be."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from rolecall.daemons.agent.build import build
from rolecall.daemons.agent.config import read_config
from rolecall.daemons.agent.metadata.metrics import metadata_families
from rolecall.edges.metrics import Metric, render
from rolecall.edges.telemetry import Log
from rolecall.testing.fake_clock import FakeClock

REFERENCE = Path(__file__).parents[5] / "docs" / "reference" / "metadata-door.md"


def families(tmp_path: Path, *flags: str) -> list[Metric]:
    """Return the families of a door with these flags, which has answered nobody."""
    kubeconfig = tmp_path / "kubeconfig"
    cluster, context = {"server": "http://127.0.0.1:9"}, {"cluster": "c"}
    text = {"clusters": [{"name": "c", "cluster": cluster}], "contexts": [{"name": "c", "context": context}]}
    kubeconfig.write_text(json.dumps(text | {"current-context": "c"}))
    env = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    words = ["serve", "--node-name", "n", "--kubeconfig", str(kubeconfig), *flags]

    async def work() -> list[Metric]:
        agent = build(read_config(words, env), FakeClock(), Log("rolecall.test_metadata"))
        assert agent.metadata is not None
        found = metadata_families(agent.metadata)
        await agent.close()
        return found

    return asyncio.run(work())


def test_every_metric_is_in_the_reference(tmp_path: Path) -> None:
    """Ours, and those by kube2iam's names."""
    page = REFERENCE.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`((?:rolecall_imds|kube2iam)_[a-z0-9_]+)", page))
    found = {family.name for family in families(tmp_path, "--dialect", "kube2iam", "--prefetch", "5")}
    assert {name for name in told if name.startswith(("rolecall", "kube2iam"))} == found
    assert {family.name for family in families(tmp_path, "--dialect", "deny")} < found


def test_what_is_open_is_counted(tmp_path: Path) -> None:
    """Only what is."""
    text = render(families(tmp_path, "--dialect", "kube2iam")).decode()
    assert 'rolecall_imds_open{setting="no-namespace-restrictions"} 1' in text
    assert 'rolecall_imds_open{setting="host-role"} 0' in text
    closed = render(families(tmp_path, "--dialect", "kube2iam", "--namespace-restrictions")).decode()
    assert 'rolecall_imds_open{setting="no-namespace-restrictions"} 0' in closed
    assert 'rolecall_imds_open{setting="host-role"} 1' in render(families(tmp_path, "--dialect", "host-role")).decode()

"""The file of identities, the ConfigMap, and the patterns that both may have."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from rolecall.daemons.webhook.rules import ConfigEntry
from rolecall.daemons.webhook.sources.config_map import ConfigMapRoles
from rolecall.daemons.webhook.sources.identities import Identities
from rolecall.daemons.webhook.sources.table import Table
from rolecall.edges.telemetry import Log
from rolecall.testing.fake_clock import FakeClock

ROLE = "arn:aws:iam::123456789012:role/carts"


def identities(*pairs: tuple[str, str]) -> str:
    return json.dumps({"identities": [{"namespace": one, "serviceAccount": two} for one, two in pairs]})


@pytest.mark.parametrize(
    ("written", "asked", "found"),
    [
        ("carts/carts", "carts/carts", True),
        ("carts/carts", "carts/cart", False),
        ("*/carts", "any/carts", True),
        ("*/carts", "any/other", False),
        ("test-*/sa", "test-1/sa", True),
        ("test-*/sa", "prod/sa", False),
        ("carts/*", "carts/any", True),
        ("carts/*", "carts-2/any", False),
        ("*/*", "any/any", True),
        ("test-*/web-*", "test-a/web-b", True),
        ("test.*/sa", "testx/sa", False),  # a pattern is no expression
    ],
)
def test_patterns(written: str, asked: str, found: bool) -> None:
    key = tuple(written.split("/"))
    assert (Table([(key, 1)]).find(*asked.split("/")) is not None) is found


def test_the_exact_name_goes_first_then_any_namespace_then_patterns() -> None:
    table = Table([(("t-*", "sa"), "pattern"), (("*", "sa"), "any"), (("t-1", "sa"), "exact")])
    assert [table.find(namespace, "sa") for namespace in ("t-1", "t-2", "x")] == ["exact", "any", "any"]
    assert Table([(("t-*", "sa"), "pattern")]).find("t-2", "sa") == "pattern"


def test_a_file_behind_a_configmaps_links_is_seen_to_change(tmp_path: Path) -> None:
    """The kubelet writes a directory beside the present one, and turns one link."""
    for version, pair in (("..1", ("carts", "carts")), ("..2", ("carts", "other"))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config").write_text(identities(pair))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "config").symlink_to("..data/config")
    source = Identities(tmp_path / "config", clock=FakeClock(), log=Log())
    source.look()
    assert source.listed.is_set()
    assert source.find("carts", "carts")
    (tmp_path / "..new").symlink_to("..2")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    source.look()
    assert source.find("carts", "carts") is None
    assert source.find("carts", "other")


def test_a_broken_file_changes_nothing_and_a_missing_one_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(identities(("carts", "carts"), ("", "x"), ("carts", "")))
    source = Identities(path, clock=FakeClock(), log=Log())
    source.look()
    assert len(source) == 1
    assert "identities[1]" in source.fault
    path.write_text("{")
    source.look()
    assert source.find("carts", "carts")
    assert source.fault
    path.unlink()
    source.look()
    assert (len(source), source.fault) == (0, "")


def test_one_that_was_never_readable_is_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("nonsense")
    source = Identities(path, clock=FakeClock(), log=Log())
    source.look()
    assert not source.listed.is_set()


def test_it_is_looked_at_every_second(tmp_path: Path) -> None:
    async def scene() -> None:
        clock, path = FakeClock(), tmp_path / "config"
        source = Identities(path, clock=clock, log=Log())
        running = asyncio.create_task(source.run())
        await clock.advance(0.1)
        path.write_text(identities(("carts", "carts")))
        await clock.advance(1)
        assert source.find("carts", "carts")
        running.cancel()

    asyncio.run(scene())


def test_a_configmap_is_read_as_the_original_reads_it_but_for_its_defects() -> None:
    roles = ConfigMapRoles(log=Log())
    entry = {"RoleARN": ROLE, "Audience": "aud", "UseRegionalSTS": True, "TokenExpiration": 3600}
    bad = {"no-slash": entry, "a/b": None, "a/c": {"RoleARN": 1}, "a/d": {}}
    roles.replace([{"config": json.dumps({"carts/carts": entry, "*/web": {"rolearn": ROLE}, **bad})}])
    assert roles.find("carts", "carts") == ConfigEntry(ROLE, "aud", True, 3600)
    assert roles.find("any", "web") == ConfigEntry(ROLE), "a missing audience is the setting's, and never empty"
    assert len(roles) == 2
    for name in bad:
        assert name in roles.fault
    roles.put({"config": "{"})
    assert len(roles) == 2
    assert "JSON" in roles.fault
    roles.drop(None)
    assert (len(roles), roles.fault) == (0, "")
    roles.replace([{"config": json.dumps({"carts/carts": entry})}])
    roles.replace([])
    assert len(roles) == 0

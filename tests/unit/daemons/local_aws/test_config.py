"""The settings of a plane: what cannot work, and what would be unsafe, is refused at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from rolecall.core.names import AccountId, Region
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.edges.sockets import is_loopback
from rolecall.errors import Misconfigured


def config(**settings: Any) -> PlaneConfig:
    """Return the defaults of ``rolecall dev`` with other settings."""
    usual: dict[str, Any] = {
        "listen_host": "127.0.0.1", "listen_port": 4500, "agent_host": "127.0.0.1", "agent_port": 4501,
        "imds_host": "127.0.0.1", "imds_port": 4502,
        "state_dir": Path("/nonexistent"), "account": AccountId("123456789012"), "region": Region("us-west-2"),
    }  # fmt: skip
    return PlaneConfig(**(usual | settings))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"listen_host": "0.0.0.0"}, "--insecure-expose"),
        ({"listen_host": "::"}, "--insecure-expose"),
        ({"listen_host": "10.0.0.1"}, "--insecure-expose"),
        ({"listen_host": "::ffff:10.0.0.1"}, "--insecure-expose"),
        ({"agent_host": "0.0.0.0"}, "127.0.0.1"),
        ({"agent_host": "169.254.170.23", "insecure_expose": True}, "127.0.0.1"),
        ({"trust_policy_quota": 2047}, "2048"),
        ({"trust_policy_quota": 8193}, "8192"),
        ({"max_session_seconds": 0}, "at least 1"),
        ({"max_token_seconds": -1}, "at least 1"),
    ],
    ids=str,
)
def test_refused(settings: dict[str, Any], told: str) -> None:
    """Each names its flag and what would work."""
    with pytest.raises(Misconfigured, match="--") as refused:
        config(**settings)
    assert told in refused.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"listen_host": "::1", "agent_host": "::1"},
        {"listen_host": "127.9.9.9"},
        {"listen_host": "0.0.0.0", "insecure_expose": True},
        {"trust_policy_quota": 8192},
        {"max_session_seconds": 1, "max_token_seconds": 1},
    ],
    ids=str,
)
def test_taken(settings: dict[str, Any]) -> None:
    """What only this machine reaches, what the operator insists on, and the bounds themselves."""
    config(**settings)


def test_partitions_are_those_of_botocore() -> None:
    """Every region that botocore knows, and the pattern of every partition, beside our prefixes."""
    partitions = Loader().load_data("partitions")["partitions"]
    assert len(partitions) > 5
    for partition in partitions:
        regions = [name for name in partition["regions"] if not name.endswith("-global")]
        assert regions, partition["id"]
        for region in regions:
            assert re.match(partition["regionRegex"], region)
            assert config(region=Region.parse(region)).partition == partition["id"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("[::1]", True), ("", False), ("0", False),
     ("0.0.0.0", False), ("localhost.example", False), ("127.0.0.1.example", False), ("::", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    """Only what no other machine can reach; what is no address is not believed."""
    assert is_loopback(host) is expected

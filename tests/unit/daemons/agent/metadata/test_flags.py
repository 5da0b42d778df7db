"""The metadata door's flags: off unless asked for; what cannot be safe or cannot work is refused before it opens."""

from __future__ import annotations

import pytest

from rolecall.daemons.agent.config import AgentConfig, read_config
from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.errors import Misconfigured
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam

BASE = "arn:aws:iam::123456789012:role/"


def read(*flags: str, env: dict[str, str] | None = None) -> AgentConfig:
    return read_config(["serve", *flags], {"AWS_REGION": "us-west-2"} if env is None else env)


def door(*flags: str) -> MetadataSettings:
    found = read(*flags).metadata
    assert found is not None
    return found


def test_it_is_off_unless_it_is_asked_for() -> None:
    """And then both doors may be there, or this one alone, which with deny needs neither region nor credentials."""
    assert read("-c", "demo").metadata is None
    both = read("-c", "demo", "--dialect", "deny")
    assert both.pod_identity
    assert both.metadata == MetadataSettings("deny", ("169.254.170.23", "fd00:ec2::23"), 8181)
    alone = read("--dialect", "deny", env={})
    assert (alone.pod_identity, alone.region) == (False, None)
    assert read("--dialect", "kube2iam").region == "us-west-2"


def test_it_is_where_the_agent_is_unless_it_is_told() -> None:
    """Other addresses only by a word that says what they are."""
    assert door("--dialect", "deny", "-b", "127.0.0.1").hosts == ("127.0.0.1",)
    words = ["--dialect", "deny", "--imds-port", "80", "--imds-bind-hosts"]
    assert door(*words, "[fd00:ec2::23]", "--imds-bind-hosts", "localhost").hosts == ("fd00:ec2::23", "127.0.0.1")
    for host in ("0.0.0.0", "10.1.2.3", "::"):
        with pytest.raises(Misconfigured, match="other machines may reach"):
            door(*words, host)
        assert door(*words, host, "--imds-anywhere").hosts == (host,)


def test_the_dialects_rules() -> None:
    """As they are written; the usual keys where nothing is said."""
    words = ["--base-role-arn", BASE.rstrip("/"), "--session-duration", "2h", "--iam-role-key", "k/role"]
    assert door("--dialect", "kube2iam", *words).kube2iam == Kube2iam(base=BASE, role_key="k/role", duration=7200)
    kiam = door("--dialect", "kiam", *words, "--namespace-rule", "loose", "--role-session-name", "s").kiam
    assert kiam == Kiam(base=BASE, role_key="k/role", duration=7200, rule="loose", session="s")
    found = door("--dialect", "deny", "--imds-version", "required", "--imds-hop-limit", "2")
    assert (found.required, found.hops) == (True, 2)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--dialect", "imds"], "invalid choice"),
        ([], "cluster-name"),
        (["--dialect", "off"], "cluster-name"),
        (["--dialect", "deny", "--imds-bind-hosts", "door"], "is no address"),
        (["--dialect", "deny", "--imds-hop-limit", "0"], "no hop limit"),
        (["--dialect", "deny", "--imds-hop-limit", "65"], "no hop limit"),
        (["--dialect", "deny", "--imds-hop-limit", "1000"], "no hop limit"),
        (["--dialect", "kube2iam", "--base-role-arn", "role/"], "the base ARN 'role/' is none"),
        (["--dialect", "kube2iam", "--base-role-arn", BASE, "--auto-discover-base-arn"], "both given and to be found"),
        (
            ["--dialect", "kube2iam", "--default-role", "x", "--auto-discover-default-role"],
            "both given and to be found",
        ),
        (["--dialect", "kube2iam", "--session-duration", "5m"], "is not what STS gives"),
        (["--dialect", "kube2iam", "--session-duration", "13h"], "is not what STS gives"),
        (["--dialect", "kiam", "--allow-route-regexp", "("], ""),
    ],
)
def test_what_cannot_work_is_refused(flags: list[str], told: str) -> None:
    """With a hint."""
    with pytest.raises(Misconfigured) as refused:
        read(*flags)
    assert told in refused.value.message
    assert refused.value.hint

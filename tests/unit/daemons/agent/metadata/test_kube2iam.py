"""kube2iam's command line becomes the agent's; the reference's table says what becomes of each flag."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rolecall.daemons.agent.config import AgentConfig, read_config
from rolecall.daemons.agent.metadata.kube2iam import FLAGS, agent_words, interception_words, main, parse
from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.errors import Misconfigured
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam

# legacy-proxies.md §5.2
KUBE2IAMS = [
    "kubeconfig", "api-server", "api-token", "insecure", "app-port", "metrics-port", "base-role-arn",
    "auto-discover-base-arn", "default-role", "auto-discover-default-role", "iam-role-key", "iam-external-id",
    "iam-role-session-ttl", "iam-role-error-ttl", "namespace-restrictions", "namespace-restriction-format",
    "namespace-key", "cache-resync-period", "resolve-duplicate-cache-ips", "node", "backoff-max-interval",
    "backoff-max-elapsed-time", "iptables", "host-interface", "host-ip", "metadata-addr", "use-regional-sts-endpoint",
    "log-format", "log-level", "verbose", "debug", "version",
]  # fmt: skip
BASE = "arn:aws:iam::123456789012:role/"


def read(*words: str) -> AgentConfig:
    """Return the agent's settings of a command line of kube2iam's."""
    return read_config(agent_words(parse(words)), {"AWS_REGION": "us-west-2"})


def metadata(*words: str) -> MetadataSettings:
    found = read(*words).metadata
    assert found is not None
    return found


def test_the_reference_says_what_becomes_of_every_flag() -> None:
    """All of kube2iam's, none else, with the verdict that the code has."""
    assert {f"--{name}" for name in KUBE2IAMS} == FLAGS.keys()
    page = (Path(__file__).parents[5] / "docs" / "reference" / "metadata-door.md").read_text()
    table = page.partition("\n| kube2iam's flag | here |\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for line in table.splitlines()[1:]:
        flags, verdict = [cell.strip() for cell in line.strip("|").split("|", 1)]
        found |= dict.fromkeys(re.findall(r"`(--[-a-z0-9]+)`", flags), re.split(r"\W", verdict)[0])
    assert found == {name: flag.verdict for name, flag in FLAGS.items()}


def test_the_readmes_command_line() -> None:
    """That of kube2iam's own manifests: interception is another's, so the door is at every address."""
    words = f"--auto-discover-base-arn --host-ip=10.1.2.3 --node=node-1 --app-port=8282 --default-role={BASE}d".split()
    config, door = read(*words), metadata(*words)
    assert (config.pod_identity, config.node, config.metrics_port) == (False, "node-1", 8181)
    assert (door.hosts, door.port, door.discover_base, door.every_node) == (("10.1.2.3",), 8282, True, False)
    assert door.kube2iam == Kube2iam(default_role=f"{BASE}d")


def test_every_rule_of_the_dialect() -> None:
    """Keys, restrictions, base: as written; a session is twice its time, and no shorter than an hour."""
    words = [
        "--base-role-arn",
        BASE.rstrip("/"),
        "--iam-role-key",
        "a/r",
        "--iam-external-id=a/e",
        "--namespace-key=a/n",
    ]
    words += ["--namespace-restrictions=true", "--namespace-restriction-format=regexp", "--iam-role-session-ttl=1h"]
    assert metadata(*words).kube2iam == Kube2iam(
        base=BASE, role_key="a/r", external_id_key="a/e", namespace_key="a/n", restrictions=True, written="regexp",
        duration=7200,
    )  # fmt: skip
    assert metadata("--iam-role-session-ttl=15m").kube2iam.duration == 3600
    assert metadata("--namespace-restrictions=false").kube2iam.restrictions is False
    assert (metadata().hosts, metadata().every_node) == (("0.0.0.0",), True)


def test_the_log_and_the_metrics() -> None:
    """Words of logrus; metrics are never at the door's port."""
    assert (read("--verbose").verbosity, read("--log-level=warning").verbosity) == ("debug", "warning")
    assert (read().log_format, read("--log-format=json").log_format) == ("logfmt", "json")
    assert (read().metrics_port, read("--metrics-port=9090").metrics_port) == (2705, 9090)
    assert metadata("--debug").debug


def test_iptables_are_our_rules_to_our_own_address() -> None:
    """The link's address is the door, which only the interception leads to."""
    words = ["--iptables=true", "--host-interface=cali+", "--host-ip=10.1.2.3", "--app-port=8282"]
    assert metadata(*words).hosts == ("169.254.170.23",)
    link, rules = interception_words(parse(words))
    assert link == ["initialize", "-b", "169.254.170.23"]
    assert rules[3:] == [
        "--intercept", "imds", "--dialect", "kube2iam", "--host-interface", "cali+", "--imds-port", "8282"
    ]  # fmt: skip
    assert interception_words(parse([])) == []


@pytest.mark.parametrize(
    "words",
    ["--api-server=https://x", "--api-token=t", "--insecure", "--metadata-addr=127.0.0.1", "--log-level=loud"],
)
def test_what_is_refused_says_what_to_do(words: str) -> None:
    """With a hint; the usual metadata address is no other."""
    with pytest.raises(Misconfigured) as refused:
        agent_words(parse([words]))
    assert refused.value.hint
    assert agent_words(parse(["--metadata-addr=169.254.169.254"]))


def test_faults_and_the_version_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An error is one line and a hint, and exit code 1."""
    assert main(["--no-such-flag"]) == 1
    assert "Error: unrecognized arguments" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert "rolecall-" in capsys.readouterr().out

"""Every flag of kiam's is taken, and is in the table."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from rolecall.daemons.agent.config import read_config
from rolecall.daemons.agent.initialize import read_initialize_config
from rolecall.daemons.agent.intercept import Interception, Interfaces
from rolecall.daemons.agent.kiam.config import agent_parser, agent_words, interception_words, read_server, server_parser
from rolecall.errors import Misconfigured

REFERENCE = Path(__file__).resolve().parents[5] / "docs" / "reference" / "kiam.md"
TLS = ["--cert=c.pem", "--key=k.pem", "--ca=ca.pem"]
BASE = "arn:aws:iam::123456789012:role/"
# legacy-proxies.md §4.2
AGENT = {
    "--port": "8181", "--allow-ip-query": "", "--allow-route-regexp": "^$", "--whitelist-route-regexp": "^$",
    "--iptables": "", "--iptables-remove": "", "--host": "10.0.0.1", "--host-interface": "cali+",
    "--server-address": "kiam-server:443", "--server-address-refresh": "0s", "--gateway-timeout-creation": "1s",
    "--grpc-keepalive-time-duration": "10s", "--grpc-keepalive-timeout-duration": "2s",
    "--grpc-keepalive-permit-without-stream": "", "--grpc-keepalive-time-ms": "10000", "--json-log": "",
    "--level": "warn", "--prometheus-listen-addr": "0.0.0.0:9620", "--prometheus-sync-interval": "5s",
    "--pprof-listen-addr": "localhost:6060", "--statsd": "host:8125", "--statsd-prefix": "kiam",
    "--statsd-interval": "100ms",
}  # fmt: skip
SERVER = {
    "--bind": "0.0.0.0:443", "--kubeconfig": "/kubeconfig", "--sync": "1m", "--fetchers": "8",
    "--prefetch-buffer-size": "1000", "--disable-strict-namespace-regexp": "", "--session": "kiam",
    "--session-duration": "15m", "--session-refresh": "5m", "--assume-role-arn": f"{BASE}kiam", "--region": "eu-west-1",
    "--grpc-max-connection-idle-duration": "15m", "--grpc-max-connection-age-duration": "15m",
    "--grpc-max-connection-age-grace-duration": "15m", "--json-log": "", "--level": "error",
    "--prometheus-listen-addr": "0.0.0.0:9620",
}  # fmt: skip


def word(flag: str, value: str) -> str:
    return f"{flag}={value}" if value else flag


@pytest.mark.parametrize("flag", AGENT)
def test_the_agents_flags(flag: str) -> None:
    words, _ = agent_words([*TLS, "--host=10.0.0.1", word(flag, AGENT[flag])], {})
    assert read_config(words, {}).metadata is not None, "our agent takes what they become"
    assert f"`{flag}`" in REFERENCE.read_text()


@pytest.mark.parametrize("flag", SERVER)
def test_the_servers_flags(flag: str) -> None:
    config = read_server([*TLS, f"--role-base-arn={BASE}", word(flag, SERVER[flag])], {})
    assert config.rules.base == BASE
    assert f"`{flag}`" in REFERENCE.read_text()


def test_the_page_names_no_flag_that_is_not_there() -> None:
    made: list[argparse.ArgumentParser] = [server_parser(), agent_parser()]
    known = {flag for parser in made for action in parser._actions for flag in action.option_strings}
    own = set(re.findall(r"`(--[a-z-]+)`", REFERENCE.read_text())) - {"--timeout"}
    assert own <= known
    assert known - own <= {"-h", "--help"}


def test_the_usual_lines_of_the_originals_chart() -> None:
    words = "--host-interface=cali+ --json-log --level=info --port=8181 --prometheus-listen-addr=0.0.0.0:9620"
    ours, notes = agent_words([*words.split(), *TLS, "--server-address=kiam-server:443"], {"HOST_IP": "10.1.2.3"})
    config = read_config(ours, {})
    assert config.metadata is not None
    assert config.metadata.kiam_server is not None
    assert config.metadata.kiam_server.url == "https://kiam-server:443"
    assert (config.metadata.hosts, config.metadata.port, config.metrics_port) == (("10.1.2.3",), 8181, 9620)
    assert config.region is None, "the agent signs nothing"
    assert notes == []


def test_iptables_are_our_rules_to_our_own_address() -> None:
    """A node whose image is exchanged stays intercepted, and the door is open to nobody else."""
    words = ["--iptables", "--host-interface=!eth0", "--host=10.1.2.3", "--port=8181", *TLS]
    config = read_config(agent_words(words, {})[0], {})
    assert config.metadata is not None
    assert (config.metadata.hosts, config.metadata.port) == (("169.254.170.23",), 8181)
    found = read_initialize_config(interception_words(words)).interception
    assert found == Interception(Interfaces(("eth0",), others=True), ("169.254.170.23",), 8181)
    assert interception_words([*TLS, "--host=10.1.2.3"]) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "base ARN"),
        ([f"--role-base-arn={BASE}", "--role-base-arn-autodetect"], "two ways"),
        (["--role-base-arn=carts"], "base ARN"),
        ([f"--role-base-arn={BASE}", "--session-duration=5m"], "STS"),
        ([f"--role-base-arn={BASE}", "--bind=everywhere"], "address"),
        ([f"--role-base-arn={BASE}", "--agent-service-account=kiam-agent"], "agent-service-account"),
        ([f"--role-base-arn={BASE}", "--assume-role-arn=kiam"], "kiam"),
    ],
)
def test_what_a_server_cannot_work_with(words: list[str], why: str) -> None:
    with pytest.raises(Misconfigured) as fault:
        read_server([*TLS, *words], {})
    assert why in fault.value.message


def test_a_session_of_a_session_has_an_hour_at_most() -> None:
    words = [*TLS, f"--role-base-arn={BASE}", "--session-duration=4h"]
    assert read_server(words, {}).rules.duration == 14_400
    assert read_server([*words, f"--assume-role-arn={BASE}kiam"], {}).rules.duration == 3600


def test_an_agent_without_an_address_is_told() -> None:
    with pytest.raises(Misconfigured, match="--host"):
        agent_words(TLS, {})

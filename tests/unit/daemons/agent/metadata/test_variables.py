"""metadataproxy's variables mean what they meant there (legacy-proxies.md §3.2, §3.3)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rolecall.core.caller import AtContainerIp
from rolecall.core.grant import Grant
from rolecall.daemons.agent.config import AgentConfig, read_config
from rolecall.daemons.agent.metadata.docker_flags import DockerSettings, read_mapping
from rolecall.daemons.agent.metadata.metadataproxy import main
from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.daemons.agent.metadata.variables import VARIABLES, ignored, words_of
from rolecall.errors import Misconfigured
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy.decide import Facts, decide_container
from rolecall.mechanisms.metadata_proxy.settings import Kube2iam, Metadataproxy

PAGE = Path(__file__).resolve().parents[5] / "docs" / "reference" / "metadataproxy.md"


def read(**environment: str) -> AgentConfig:
    """Return what these variables make of the agent."""
    return read_config(words_of(environment), {"AWS_REGION": "eu-west-1"})


def door(**environment: str) -> MetadataSettings:
    """Return what they make of the door."""
    found = read(**environment).metadata
    assert found is not None
    return found


def test_nothing_said() -> None:
    """The defaults of its image, and no other door than this one."""
    config = read()
    docker = DockerSettings(Metadataproxy(), Path("/var/run/docker.sock"))
    assert config.metadata == MetadataSettings("metadataproxy", ("0.0.0.0",), 8000, docker=docker)
    assert (config.pod_identity, config.verbosity) == (False, "info")


def test_everything_said() -> None:
    """Each goes where it belongs."""
    config = read(
        HOST="127.0.0.1",
        PORT="45001",
        DEBUG="True",
        DOCKER_URL="unix://run/docker.sock",
        METADATA_URL="http://127.0.0.1:9/",
        MOCK_API="true",
        MOCKED_INSTANCE_ID="i-1",
        DEFAULT_ROLE="-d",
        DEFAULT_ACCOUNT_ID="123456789012",
        AWS_ACCOUNT_MAP='{"prod": "210987654321"}',
        ROLE_SESSION_KEY="Labels:team",
    )
    rules = Metadataproxy("-d", "123456789012", {"prod": "210987654321"}, "Labels:team")
    docker = DockerSettings(rules, Path("/run/docker.sock"), mocked="i-1")
    upstream = "http://127.0.0.1:9"
    assert config.metadata is not None
    assert replace(config.metadata, kube2iam=Kube2iam()) == MetadataSettings(
        "metadataproxy", ("127.0.0.1",), 45001, docker=docker, upstream=upstream
    )
    assert config.verbosity == "debug"


@pytest.mark.parametrize("text", ["False", "false", "0", ""])
def test_what_is_false(text: str) -> None:
    """Anything else is true, FALSE and no too."""
    assert (door(MOCK_API=text).docker.mocked, read(DEBUG=text).verbosity) == ("", "info")
    assert (door(MOCK_API="no").docker.mocked, read(DEBUG="FALSE").verbosity) == ("mockedid", "debug")


def test_what_is_ignored_is_said() -> None:
    """Whoever set it learns that it changes nothing; what is set to nothing is nothing."""
    said = {"ROLE_REVERSE_LOOKUP": "True", "MESOS_STATE_LOOKUP": "False", "WORKERS": "4", "DEFAULT_ROLE": "r"}
    assert ignored(said) == ["ROLE_REVERSE_LOOKUP", "WORKERS"]


@pytest.mark.parametrize(
    "environment",
    [
        {"PORT": "http"}, {"PORT": "65536"}, {"PORT": "0"}, {"PORT": "-1"}, {"PORT": "80000000000"},
        {"DOCKER_URL": "tcp://127.0.0.1:2375"}, {"DOCKER_URL": "/var/run/docker.sock"}, {"DOCKER_URL": "unix://"},
        {"AWS_ACCOUNT_MAP": "prod=1"}, {"AWS_ACCOUNT_MAP": '{"prod": "1"}'}, {"AWS_ACCOUNT_MAP": "[]"},
        {"DEFAULT_ACCOUNT_ID": "me"}, {"ROLE_SESSION_KEY": "team"}, {"ROLE_SESSION_KEY": "Env:"},
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(environment: dict[str, str]) -> None:
    """By the name of the variable, with what to write."""
    with pytest.raises(Misconfigured, match=next(iter(environment))) as caught:
        read(**environment)
    assert caught.value.hint


def test_only_what_is_needed_is_read_of_a_container() -> None:
    """Its other variables are its secrets."""
    usual = door().docker.variables()
    assert usual == {"IAM_ROLE", "IAM_EXTERNAL_ID", "IAM_POLICY"}
    assert door(ROLE_SESSION_KEY="Labels:x").docker.variables() == usual
    assert door(ROLE_SESSION_KEY="Env:TEAM").docker.variables() - usual == {"TEAM"}


def test_a_mapping_file_decides_as_variables_of_a_container_do(tmp_path: Path) -> None:
    """A text, or name, account, external id and session name, become the same grant."""
    file = tmp_path / "map.json"
    said = {"name": "a/b", "account_id": "210987654321", "external_id": "e-1", "session_name": "me"}
    file.write_text(json.dumps({"10.0.0.1": said, "fd00::0:1": "c@prod"}))
    docker = door(
        ROLE_MAPPING_FILE=str(file), AWS_ACCOUNT_MAP='{"prod": "123456789012"}', ROLE_SESSION_KEY="Env:X"
    ).docker
    table, rules = docker.table, docker.rules
    assert table is not None

    def grant(address: str, role: str) -> Grant:
        asked = Asked("credentials", "", role=role)
        decision = decide_container(rules, asked, Facts(AtContainerIp(address, table[address])))
        assert isinstance(decision, Grant)
        return decision

    first, second = grant("10.0.0.1", "a/b").hops[-1], grant("fd00::1", "c").hops[-1]
    assert str(first.role) == "arn:aws:iam::210987654321:role/a/b"
    assert (first.session.name, first.session.external_id) == ("me", "e-1")
    assert str(second.role) == "arn:aws:iam::123456789012:role/c"
    assert (second.session.name, second.session.external_id) == ("devproxyauth", None)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "[" * 9999, '{"host": "r"}', '{"10.0.0.1:80": "r"}', '{"10.0.0.1": 7}', '{"10.0.0.1": {}}',
        '{"10.0.0.1": {"name": "r", "policy": "x"}}', '{"10.0.0.1": {"name": 1}}', '{"::1": "a", "0::1": "b"}',
    ],
)  # fmt: skip
def test_a_mapping_file_that_cannot_be_used(text: str) -> None:
    """Is named, and nothing of it is taken."""
    with pytest.raises(Misconfigured, match="ROLE_MAPPING_FILE"):
        read_mapping(text)


def test_a_mapping_file_that_is_not_there() -> None:
    """Nor is nobody taken for everybody then: the agent does not start."""
    with pytest.raises(Misconfigured, match="/nowhere/map cannot be read"):
        read(ROLE_MAPPING_FILE="/nowhere/map")


def test_the_page_says_how_each_is_taken() -> None:
    """The table of the reference has every variable, with its word."""
    rows = re.findall(r"^\| `([A-Z_]+)` \|[^|]*\| (same|better|ignored)\b", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == dict(VARIABLES)
    assert len(rows) == len(VARIABLES)


def test_a_mistake_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The program ends with 1, and what is ignored is told before."""
    for name, value in {"WORKERS": "4", "DOCKER_URL": "tcp://10.0.0.1:2375"}.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 1
    ignores, wrong, hint = capsys.readouterr().err.splitlines()
    assert ignores == "metadataproxy: WORKERS changes nothing here: docs/reference/metadataproxy.md"
    assert wrong == "metadataproxy: DOCKER_URL 'tcp://10.0.0.1:2375' is no Unix socket"
    assert "unix:///var/run/docker.sock" in hint


def test_flags_may_follow(capsys: pytest.CaptureFixture[str]) -> None:
    """They are the agent's; one that it does not know ends it."""
    assert main(["--no-such-flag"]) == 1
    assert "--no-such-flag" in capsys.readouterr().err

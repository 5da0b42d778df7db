"""The agent's settings: AWS's flags, their defaults and their refusals (aws-pod-identity.md §1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.names import Region
from rolecall.daemons.agent.config import AgentConfig, read_clusters, read_config
from rolecall.errors import Misconfigured

ENV = {"AWS_REGION": "us-west-2"}


def read(*flags: str, env: Mapping[str, str] = ENV) -> AgentConfig:
    """Return the settings of ``serve -c demo`` with more flags."""
    return read_config(["serve", "-c", "demo", *flags], env)


def test_defaults_are_those_of_awss_agent() -> None:
    """A chart that says nothing gets the same ports, cache and addresses."""
    found = read()
    assert found.hosts == ("169.254.170.23", "fd00:ec2::23")
    assert (found.port, found.probe_port, found.metrics_host, found.metrics_port) == (80, 2703, "0.0.0.0", 2705)
    assert (found.renewal, found.cache_size, found.service_qps) == (3 * 3600, 2000, 3)
    assert (found.endpoint, found.cluster, found.region) == (None, "demo", "us-west-2")
    assert found.allowed_hosts() == {"169.254.170.23", "fd00:ec2::23"}


def test_the_arguments_of_awss_chart_are_taken() -> None:
    """Long and short, with "=" and without; hosts in brackets as its help has them."""
    found = read_config(
        [
            *("server", "--port=8080", "--cluster-name", "prod", "--probe-port", "1", "--metrics-port=0"),
            *("-b", "169.254.170.23", "-b", "[fd00:ec2::23]", "--max-credential-retention-before-renewal=1h30m"),
            *("--max-cache-size", "10", "--max-service-qps", "-1", "-v", "trace", "--endpoint", "http://127.0.0.1:1"),
            *("--metrics-address", "127.0.0.1", "--region", "eu-central-1"),
        ],
        ENV,
    )
    assert (found.port, found.cluster, found.probe_port, found.metrics_port) == (8080, "prod", 1, 0)
    assert found.hosts == ("169.254.170.23", "fd00:ec2::23")
    assert (found.renewal, found.cache_size, found.service_qps) == (5400, 10, 3)
    assert (found.endpoint, found.region, found.metrics_host) == ("http://127.0.0.1:1", "eu-central-1", "127.0.0.1")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "following arguments are required: command"),
        (["start"], "invalid choice"),
        (["serve"], 'required flag(s) "cluster-name" not set'),
        (["serve", "-c", ""], 'required flag(s) "cluster-name" not set'),
        (["serve", "-c", "a", "--clusters-file", "b"], "two ways to choose the cluster"),
        (["serve", "-c", "a/b"], "not a cluster name"),
        (["serve", "-c", "a", "--region", "Mars"], "not an AWS region"),
        (["serve", "-c", "a", "--bogus"], "unrecognized arguments: --bogus"),
        (["serve", "-c", "a", "--probe", "1"], "unrecognized arguments"),
        (["serve", "-c", "a", "-p", "65536"], "not a port"),
        (["serve", "-c", "a", "-p", "-1"], "not a port"),
        (["serve", "-c", "a", "--metrics-port", "http"], "not a port"),
        (["serve", "-c", "a", "-v", "loud"], "Invalid logging verbosity: loud"),
        (["serve", "-c", "a", "--max-cache-size", "-1"], "not a number of credentials"),
        (["serve", "-c", "a", "--max-service-qps", "nan"], "not a number of calls"),
        (["serve", "-c", "a", "--max-service-qps", "inf"], "not a number of calls"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused(flags: list[str], told: str) -> None:
    """Before anything is opened, in a sentence with a next step."""
    with pytest.raises(Misconfigured) as refused:
        read_config(flags, ENV)
    assert told in refused.value.message
    assert refused.value.hint


def test_a_region_must_come_from_somewhere() -> None:
    """Flag, then AWS_REGION, then AWS_DEFAULT_REGION."""
    assert read("--region", "eu-west-1", env=ENV).region == "eu-west-1"
    assert read(env={"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"}).region == "eu-west-2"
    assert read(env={"AWS_DEFAULT_REGION": "eu-west-3"}).region == "eu-west-3"
    with pytest.raises(Misconfigured) as refused:
        read(env={})
    assert "AWS_REGION" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        # Go, time.ParseDuration: documentation and time_test.go.
        ("0", 0), ("3h", 10_800), ("1h30m", 5400), ("300ms", 0.3), ("1.5h", 5400), ("2h45m", 9900), ("5s", 5),
        ("1h15m30.918273645s", 4530.918273645), (".5s", 0.5), ("5.s", 5), ("10ns", 1e-8), ("11us", 1.1e-5),
        ("12µs", 1.2e-5), ("12μs", 1.2e-5), ("39h9m14.425s", 140_954.425), ("2m1h", 3720),
    ],
)  # fmt: skip
def test_durations_as_go_has_them(text: str, seconds: float) -> None:
    """The flag is a Go duration, and charts write it in each of these ways."""
    found = read("--max-credential-retention-before-renewal", text, "--max-cache-size", "0")
    assert found.renewal == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "3", "h", ".", "-", ".s", "1d", "3 h", "3h ", "-1h", "1h-5m", "1e3s", "٣h", "3H", "inf", "9999999999h"]
)
def test_what_go_refuses_is_no_duration(text: str) -> None:
    """No unit, unknown unit, more than 290 years; and no negative one, though Go has them."""
    with pytest.raises(Misconfigured, match="is not a duration"):
        read(f"--max-credential-retention-before-renewal={text}")


@pytest.mark.parametrize(
    ("text", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1", {"127.0.0.1", "localhost"}),
        ("localhost", "127.0.0.1", {"127.0.0.1", "localhost"}),
        ("127.8.9.10", "127.8.9.10", {"127.8.9.10", "localhost"}),
        ("[::1]", "::1", {"::1", "localhost"}),
        ("169.254.170.23", "169.254.170.23", {"169.254.170.23"}),
        ("[fd00:ec2::23]", "fd00:ec2::23", {"fd00:ec2::23"}),
    ],
)
def test_node_local_hosts_are_bound(text: str, host: str, allowed: set[str]) -> None:
    """And the Host header must name them: "localhost" only where loopback is bound."""
    found = read("-b", text)
    assert (found.hosts, found.allowed_hosts()) == ((host,), allowed)


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "169.254.169.254", "10.0.0.1", "example.com", "", "fd00:ec2::24"])
def test_no_other_machine_may_reach_the_door(text: str) -> None:
    """AWS's own refusal, word for word; one bad host among good ones is enough."""
    with pytest.raises(Misconfigured) as refused:
        read("-b", "127.0.0.1", f"--bind-hosts={text}")
    assert f'refusing to bind credential server to non-node-local host "{text}"' in refused.value.message
    assert "only loopback and the link-local hosts" in refused.value.hint


@pytest.mark.parametrize(
    ("qps", "renewal", "size", "good"),
    [
        ("1", "500s", "1000", True),
        ("1", "499s", "1000", False),
        ("0", "1s", "7", False),  # <= 0 becomes 3
        ("0", "1s", "6", True),
        ("0.001", "0", "2000", True),  # without a cache nothing is renewed
    ],
)
def test_renewals_must_keep_up_with_the_cache(qps: str, renewal: str, size: str, good: bool) -> None:
    """AWS's agent panics where qps * renewal < cache size / 2; this one explains."""
    flags = ("--max-service-qps", qps, "--max-credential-retention-before-renewal", renewal, "--max-cache-size", size)
    if good:
        read(*flags)
        return
    with pytest.raises(Misconfigured, match="fewer than half of --max-cache-size"):
        read(*flags)


FLAGS = (
    "-p",
    "--port=",
    "-b",
    "--probe-port",
    "--max-cache-size",
    "--max-service-qps=",
    "-v",
    "--region",
    "--metrics-port",
)
DURATION = "--max-credential-retention-before-renewal"


@given(
    st.lists(st.sampled_from((*FLAGS, DURATION)) | st.text(max_size=12) | st.from_regex(r"-?[0-9.]+[hms]?"), max_size=4)
)
def test_any_arguments_are_settings_or_a_sentence(words: list[str]) -> None:
    """Nothing else comes out, whatever is given; ``-h`` shows the help and ends."""
    outcome: object = None
    try:
        outcome = read_config(["serve", "-c", "x", *words], ENV)
    except Misconfigured as fault:
        outcome = fault.message
    except SystemExit as end:
        outcome = "help" if end.code == 0 else end.code
    assert isinstance(outcome, AgentConfig | str)


def test_the_region_of_the_profile_and_of_the_instance(tmp_path: Path) -> None:
    """The profile's before the instance's, and the instance is not asked where anybody else has said one."""
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-north-1\n[profile other]\noutput = json\n")
    asked: list[Mapping[str, str]] = []

    def find(env: Mapping[str, str]) -> Region:
        asked.append(env)
        return Region.parse("sa-east-1")

    def region(**env: str) -> str:
        return read_config(["serve", "-c", "demo"], {"AWS_CONFIG_FILE": str(config)} | env, find_region=find).region

    assert region(AWS_REGION="eu-west-1") == "eu-west-1"
    assert region() == "eu-north-1"
    assert asked == []
    assert region(AWS_PROFILE="other") == "sa-east-1"
    assert len(asked) == 1


def test_another_eks_auth_by_environment() -> None:
    """The variables of AWS's SDKs: the service's own before the general one, the flag before both."""
    both = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_EKS_AUTH": "http://127.0.0.1:2"}
    assert read(env=ENV | both).endpoint == "http://127.0.0.1:2"
    assert read(env=ENV | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}).endpoint == "http://127.0.0.1:1"
    assert read("--endpoint", "http://127.0.0.1:3", env=ENV | both).endpoint == "http://127.0.0.1:3"
    assert read(env=ENV | both | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}).endpoint is None
    for flags, more in ((("--endpoint", "http://127.0.0.1:3"), {}), ((), both)):
        with pytest.raises(Misconfigured, match="AWS_USE_FIPS_ENDPOINT does not go together"):
            read(*flags, env=ENV | more | {"AWS_USE_FIPS_ENDPOINT": "true"})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"x"', b"null", b'{"https://i": 5}', b'{"https://i": "a/b"}', b'{"https://i": null}', b"\xff"],
)
def test_a_clusters_file_that_cannot_be_used_says_so(tmp_path: Path, content: bytes) -> None:
    """By name; a file that is not there yet is one without clusters."""
    path = tmp_path / "clusters.json"
    assert read_clusters(path) == {}
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"clusters\.json cannot be used"):
        read_clusters(path)

"""The files by which shells, SDKs and the agent find the plane: read by a real shell and by botocore."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from botocore.configloader import load_config, raw_config_parse

from rolecall.core.names import AccountId, Partition, Region
from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.operations import World
from rolecall.daemons.local_aws.state_files import NO_PROXY, Urls, write_clusters, write_state_files
from rolecall.edges.state_dir import StateDir

URL = "http://127.0.0.1:4500"
IMDS = "http://127.0.0.1:4502"
# What AWS's SDKs and Tools Reference Guide, and botocore's configprovider, put before a profile or our endpoint.
HOSTILE = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_EKS", "AWS_ENDPOINT_URL_EKS_AUTH", "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
)  # fmt: skip
SHELLS = [name for name in ("dash", "bash", "zsh") if shutil.which(name)]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """A state directory whose path a shell could stumble over, with its files."""
    made = StateDir(tmp_path / 'it\'s $(a) "dir" `here`')
    made.prepare()
    world = World(AccountId("123456789012"), Partition("aws"), Region("us-west-2"), URL, None, None, 2048)
    admin, node = ("AKIAADMIN", Secret("admin/secret+")), ("AKIANODE", Secret("node/secret+"))
    write_state_files(made, world, urls=Urls(URL, IMDS), admin=admin, node=node)
    return made


def sourced(state: StateDir, shell: str, own: dict[str, str], times: int = 1) -> dict[str, str]:
    """Return the environment of a strict shell that had `own` and has sourced the file."""
    script = 'set -eu; n=0; while [ $n -lt "$2" ]; do . "$1"; n=$((n+1)); done; env -0'
    done = subprocess.run(
        [shell, "-c", script, "sh", str(state.env), str(times)],
        env={"PATH": os.environ["PATH"]} | own, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stderr == b""
    return dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_sources_the_file_is_the_admin(state: StateDir, shell: str) -> None:
    """Every variable of the plan, and none left that would lead a client elsewhere."""
    hostile = dict.fromkeys(HOSTILE, "x") | {"AWS_PROFILE": "work", "AWS_REGION": "eu-west-1"}
    found = sourced(state, shell, hostile)
    assert {name: value for name, value in found.items() if name.startswith("AWS_")} == {
        "AWS_ENDPOINT_URL": URL,
        "AWS_ENDPOINT_URL_STS": URL,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": IMDS,
        "AWS_REGION": "us-west-2",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_CONFIG_FILE": str(state.root / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(state.root / "credentials"),
        "AWS_PROFILE": "rolecall",
    }
    assert found["ROLECALL_STATE_DIR"] == str(state.root)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, NO_PROXY),
        ({"NO_PROXY": "a.b"}, f"a.b,{NO_PROXY}"),
        ({"no_proxy": "a.b"}, f"a.b,{NO_PROXY}"),
        ({"NO_PROXY": "a.b", "no_proxy": "c.d"}, f"a.b,c.d,{NO_PROXY}"),
        ({"NO_PROXY": "*"}, "*"),
        ({"no_proxy": "*"}, "*"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_shells_own_no_proxy_is_kept(state: StateDir, shell: str, own: dict[str, str], expected: str) -> None:
    """In both spellings, of which clients read one or the other; sourcing it twice changes nothing."""
    for times in (1, 3):
        found = sourced(state, shell, own, times)
        assert (found["NO_PROXY"], found["no_proxy"]) == (expected, expected)


def test_botocore_reads_the_profiles(state: StateDir) -> None:
    """The admin's under its name, the node's key as the default of a file of its own."""
    assert raw_config_parse(str(state.credentials)) == {
        "rolecall": {"aws_access_key_id": "AKIAADMIN", "aws_secret_access_key": "admin/secret+"}
    }
    assert raw_config_parse(str(state.node_credentials)) == {
        "default": {"aws_access_key_id": "AKIANODE", "aws_secret_access_key": "node/secret+"}
    }
    assert load_config(str(state.aws_config))["profiles"] == {"rolecall": {"region": "us-west-2"}}


def test_every_file_is_private(state: StateDir) -> None:
    """0600, also those that say only where things are."""
    write_clusters(state, {"https://i": "demo"})
    assert json.loads(state.clusters.read_text()) == {"https://i": "demo"}
    files = [path for path in state.root.iterdir() if path.is_file()]
    assert {path.name for path in files} == {"credentials", "node-credentials", "config", "env", "clusters.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}

"""Which source an environment configures. botocore's own chain is the judge: the same, or an error, never another."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.session
import pytest
from botocore.credentials import CredentialProvider
from botocore.exceptions import BotoCoreError
from botocore.utils import InstanceMetadataFetcher
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rolecall.edges.aws.credential_chain import Chosen, Surroundings, choose
from rolecall.edges.aws.profiles import read_profile
from rolecall.edges.http_client import HttpClient
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured
from rolecall.testing.fake_clock import FakeClock

ROLE = "arn:aws:iam::123456789012:role/node"
KEYS = "aws_access_key_id = {0}\naws_secret_access_key = secret-of-{0}\n"
# What each factor adds to the environment, the credentials file and the config file.
FACTORS: Mapping[str, tuple[Mapping[str, str], str, str]] = {
    "env": ({"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "secret-of-AKIAENV"}, "", ""),
    "half-env": ({"AWS_SECRET_ACCESS_KEY": "secret"}, "", ""),
    "token-file": ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/token"}, "", ""),
    "role": ({"AWS_ROLE_ARN": ROLE}, "", ""),
    "keys": ({}, "[default]\n" + KEYS.format("AKIADEFAULT"), ""),
    "other-keys": ({}, "[other]\n" + KEYS.format("AKIAOTHER"), ""),
    "other": ({"AWS_PROFILE": "other"}, "", "[profile other]\nregion = us-west-2\n"),
    "config-keys": ({}, "", "[default]\n" + KEYS.format("AKIACONFIG")),
    "other-config-keys": ({}, "", "[profile other]\n" + KEYS.format("AKIAOTHERCONFIG")),
    "assume": ({}, "", f"[default]\nrole_arn = {ROLE}\ncredential_source = Ec2InstanceMetadata\n"),
    "profile-web-identity": ({}, "", f"[default]\nrole_arn = {ROLE}\nweb_identity_token_file = /nowhere/token\n"),
    "process": ({}, "", "[default]\ncredential_process = /nowhere/program\n"),
    "sso": (
        {},
        "",
        "[default]\nsso_start_url = https://s\nsso_region = us-west-2\nsso_account_id = 1\nsso_role_name = r\n",
    ),
    "relative": ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/creds"}, "", ""),
    "full": ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/creds"}, "", ""),
    "no-imds": ({"AWS_EC2_METADATA_DISABLED": "true"}, "", ""),
}
TWICE = {"assume", "profile-web-identity"}  # one setting twice in a section: botocore reads no such file
KINDS = {
    "env": "environment",
    "assume-role-with-web-identity": "web-identity",
    "shared-credentials-file": "shared-file",
    "config-file": "shared-file",
    "container-role": "container",
    "iam-role": "imds",
}
# Where botocore finds something and we refuse: ways that only whole SDKs have.
REFUSED = {"assume-role", "custom-process", "sso"}


def given_to(log: Log, doors: Collection[tuple[str, int]] = ()) -> Surroundings:
    """Return what sources need; nobody is asked here."""
    return Surroundings(
        region="us-west-2", node="node-1", http=HttpClient(), near=HttpClient, clock=FakeClock(), dice=lambda: 0.0,
        log=log, doors=doors,
    )  # fmt: skip


def ours(env: Mapping[str, str], **more: Any) -> Chosen:
    """Return what we choose."""
    return choose(env, given_to(Log(), **more))


def describe(chosen: Chosen) -> tuple[str, str]:
    """Return the kind, and the key where it is at hand."""
    if chosen.kind not in {"environment", "shared-file"}:
        return chosen.kind, ""
    return chosen.kind, asyncio.run(chosen.current()).access_key_id


class Instance(InstanceMetadataFetcher):
    """botocore's client of IMDS, at an instance that has a role."""

    def _fetch_metadata_token(self) -> str:
        self._assert_enabled()
        return "token"

    def _get_iam_role(self, token: str | None = None) -> str:
        return "node"

    def _get_credentials(self, role_name: str, token: str | None = None) -> dict[str, str]:
        return {
            "AccessKeyId": "ASIAIMDS", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"
        }  # fmt: skip


class Container:
    """botocore's client of a container's provider, at one that has credentials."""

    def full_url(self, relative: str) -> str:
        """Return ECS's URL."""
        return "http://169.254.170.2" + relative

    def retrieve_full_uri(self, full_url: str, headers: object = None) -> dict[str, str]:
        """Return credentials."""
        return {
            "AccessKeyId": "ASIACONTAINER", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"
        }  # fmt: skip


def of_botocore(env: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the provider that botocore chooses, and the key where it is at hand; None for no credentials."""
    with mock.patch.dict(os.environ, env, clear=True):
        resolver = botocore.session.Session().get_component("credential_provider")
        for provider in resolver.providers:
            at_hand = _load(provider)
            if at_hand is not None:
                return at_hand
    return None


def _load(provider: CredentialProvider) -> tuple[str, str] | None:
    if provider.METHOD == "container-role":
        provider._fetcher = Container()
    if provider.METHOD == "iam-role":
        provider._role_fetcher = Instance()
    found = provider.load() if provider.METHOD not in REFUSED else _would(provider)
    if found is None:
        return None
    fixed = provider.METHOD in {"env", "shared-credentials-file", "config-file"}
    return provider.METHOD, found.access_key if fixed else ""


def _would(provider: CredentialProvider) -> object | None:
    """Return whether a provider would go and get credentials, without letting it."""
    if provider.METHOD == "custom-process":
        return provider._credential_process
    if provider.METHOD == "sso":
        return provider.load()
    profile = provider._load_config().get("profiles", {}).get(provider._profile_name, {})
    return object() if provider._has_assume_role_config_vars(profile) else None


@contextmanager
def home(tmp_path: Path, factors: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield the environment of these factors, with their files at home."""
    env = {"HOME": str(tmp_path)}
    folder = tmp_path / ".aws"
    folder.mkdir(exist_ok=True)
    files = {"credentials": "", "config": ""}
    for name in factors:
        variables, credentials, config = FACTORS[name]
        env |= variables
        files["credentials"] += credentials
        files["config"] = _merged(files["config"], config)
    for name, text in files.items():
        (folder / name).write_text(text)
    yield env


def _merged(text: str, more: str) -> str:
    """Return both, with one section of a name: botocore reads files with two as broken."""
    head, _, fields = more.partition("\n")
    return text.replace(head + "\n", more) if head and head + "\n" in text else text + head + "\n" * bool(head) + fields


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from(sorted(FACTORS)), max_size=6).filter(lambda found: not found >= TWICE))
@example({"env", "other", "other-keys"})
@example({"token-file", "role", "keys", "relative"})
@example({"keys", "config-keys", "full"})
@example({"other", "other-config-keys", "keys"})
@example({"config-keys", "process"})
@example({"keys", "process"})
@example({"keys", "sso"})
@example({"relative", "full", "role"})
@example({"profile-web-identity", "keys"})
@example({"half-env"})
@example({"no-imds"})
@example(set())
def test_the_same_source_as_botocore_or_none(tmp_path: Path, factors: set[str]) -> None:
    """Whatever else is configured beside it; the refusals are those that the reference lists, and no others."""
    with home(tmp_path, sorted(factors)) as env:
        expected, found = None, None
        with suppress(BotoCoreError):
            expected = of_botocore(env)
        with suppress(Misconfigured):
            found = describe(ours(env))
    if found is not None:
        assert expected is not None
        assert found == (KINDS[expected[0]], expected[1])
    elif expected is not None:
        profile_without_keys = "other" in factors and expected[0] in {"container-role", "iam-role"}
        assert expected[0] in REFUSED or profile_without_keys


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIA"}, "has no AWS access key"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, "without AWS_ROLE_ARN"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": "role/node"}, "AWS_ROLE_ARN: "),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": ROLE, "AWS_ROLE_SESSION_NAME": "a b"},
            "AWS_ROLE_SESSION_NAME",
        ),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/c"}, "plain HTTP to another machine, 10.0.0.1"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.169.254/c"}, "plain HTTP to another machine"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1.evil.example/c"}, "plain HTTP to another machine"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "/creds"}, "is not a URL that can be called"),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@10.0.0.1/c"}, "is not a path"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"}, "would ask itself"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[fd00:ec2::23]/v1/credentials"}, "would ask itself"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost:81/v1/credentials"}, "would ask itself"),
        ({"AWS_EC2_METADATA_DISABLED": "true"}, "no AWS credentials to sign with"),
        ({"AWS_EC2_METADATA_DISABLED": "yes"}, "neither true nor false"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv5"}, "neither IPv4 nor IPv6"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "imds"}, "cannot be called"),
        ({"AWS_PROFILE": "x"}, "no credentials file for profile 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused_at_the_start(env: Mapping[str, str], told: str) -> None:
    """In a sentence with a next step."""
    doors = [("169.254.170.23", 80), ("fd00:ec2::23", 80), ("127.0.0.1", 81)]
    with pytest.raises(Misconfigured, match=told) as refused:
        ours(env, doors=doors)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("env", "where"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "hush"}, "AWS_ACCESS_KEY_ID"),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": ROLE},
            f"{ROLE} by https://sts.us-west-2.amazonaws.com",
        ),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1/a"},
            f"{ROLE} by http://127.0.0.1:1",
        ),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c?hush"}, "http://169.254.170.2"),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "https://c.example:8443/hush",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "hush",
            },
            "https://c.example:8443",
        ),
        ({}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"}, "http://[fd00:ec2::254]"),
        (
            {
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1338/",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6",
            },
            "http://127.0.0.1:1338",
        ),
    ],
)
def test_where_it_is_told_without_a_secret(env: Mapping[str, str], where: str) -> None:
    """What the log and `rolecall agent status` show."""
    chosen = ours(env)
    assert chosen.where == where
    assert "hush" not in repr(chosen)


def test_a_session_is_told_from_a_users_keys(tmp_path: Path) -> None:
    """By its token; a role's credentials always are one, and a file that is to come is not known to be."""
    file, keys = tmp_path / "credentials", {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s"}
    named = ours({"AWS_SHARED_CREDENTIALS_FILE": str(file)})

    def temporary(chosen: Chosen) -> bool:
        return asyncio.run(chosen.is_temporary())

    assert (temporary(ours(keys)), temporary(ours(keys | {"AWS_SESSION_TOKEN": "t"}))) == (False, True)
    assert (temporary(ours({})), temporary(named)) == (True, False)
    file.write_text("[default]\n" + KEYS.format("ASIAX") + "aws_session_token = t\n")
    assert temporary(named)


def test_a_named_file_that_is_to_come_is_waited_for(tmp_path: Path) -> None:
    """Hybrid nodes write it after the agent's start: until then an error, and not the node's role."""
    file = tmp_path / "credentials"
    chosen = ours({"AWS_SHARED_CREDENTIALS_FILE": str(file)})
    assert (chosen.kind, chosen.where) == ("shared-file", f"[default] of {file}, which has no key yet")
    with pytest.raises(Misconfigured, match="cannot be read"):
        asyncio.run(chosen.current())
    file.write_text("[default]\n" + KEYS.format("AKIALATE"))
    assert asyncio.run(chosen.current()).access_key_id == "AKIALATE"


def test_a_profile_is_kept_without_its_secrets(tmp_path: Path) -> None:
    """Whoever looks at it sees which settings there are; files under ~ are found at HOME."""
    (tmp_path / "c").write_text("[default]\n" + KEYS.format("AKIA") + "aws_session_token = hush\n")
    found = read_profile({"HOME": str(tmp_path), "AWS_SHARED_CREDENTIALS_FILE": "~/c"})
    assert found.setting("aws_access_key_id") == "AKIA"
    assert "secret-of" not in repr(found)
    assert "hush" not in repr(found)


def test_a_file_that_is_there_and_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It may say who the agent is meant to be: going on without it could make it somebody else."""
    (tmp_path / ".aws" / "credentials").mkdir(parents=True)
    with pytest.raises(Misconfigured, match=r"credentials cannot be read"):
        ours({"HOME": str(tmp_path)})
    (tmp_path / ".aws" / "credentials").rmdir()
    (tmp_path / ".aws" / "credentials").write_text("x" * 1_100_000)
    with pytest.raises(Misconfigured, match="longer than"):
        ours({"HOME": str(tmp_path)})

"""The controller's command line: the original's flags, and what cannot work is said before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolecall.daemons.controller.config import read_config
from rolecall.errors import Misconfigured

BASE = "arn:aws:iam::123456789012:role/"
HERE = {"POD_NAMESPACE": "ours", "AWS_REGION": "us-west-2"}


def test_the_originals_flags_are_taken() -> None:
    """All of them, as its manifests have them (legacy-proxies.md §6.2)."""
    words = [
        "serve", "--debug", "--interval=10s", "--refresh-limit=20m", f"--base-role-arn={BASE}", "--assume-role=other",
        "--namespace=shop", "--apiserver=https://api.example:6443",
    ]  # fmt: skip
    config = read_config(words, HERE)
    assert (config.verbosity, config.interval, config.rules.refresh_limit) == ("debug", 10.0, 1200.0)
    assert (config.rules.base, config.assume_role, config.namespace) == (BASE, "other", "shop")
    assert config.apiserver == "https://api.example:6443"
    assert read_config(["serve", "--debug", "--no-debug"], HERE).verbosity == "info"


def test_what_is_not_said(tmp_path: Path) -> None:
    """The original's limits, lists that count where there are any, and a Lease in the pod's own namespace."""
    (tmp_path / "namespace").write_text("kube-system\n")
    config = read_config(["serve"], {}, tmp_path)
    assert (config.rules.base, config.rules.refresh_limit, config.rules.restrictions) == ("", 900.0, "where-set")
    assert config.lease == ("kube-system", "kube-aws-iam-controller")
    assert (config.region, config.port, config.host) == (None, 8080, "0.0.0.0")
    assert read_config(["serve", "--leader-elect=false"], {}, tmp_path / "nowhere").lease is None


@pytest.mark.parametrize(
    ("said", "base"),
    [
        ("arn:aws:iam::123456789012:role", BASE),
        (BASE, BASE),
        ("arn:aws-cn:iam::123456789012:role/team/", "arn:aws-cn:iam::123456789012:role/team/"),
        # As the original: what is written stands before the name, also where it ends within one.
        ("arn:aws:iam::123456789012:role/prefix-", "arn:aws:iam::123456789012:role/prefix-"),
    ],
)
def test_a_base(said: str, base: str) -> None:
    """It ends where a name can begin."""
    assert read_config(["serve", f"--base-role-arn={said}"], HERE).rules.base == base


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--base-role-arn=123456789012"], "base ARN"),
        (["--base-role-arn=arn:aws:iam::1234:role/"], "base ARN"),
        (["--base-role-arn=arn:aws:iam::123456789012:user/"], "base ARN"),
        (["--interval=0s"], "--interval"),
        (["--interval=often"], "duration"),
        (["--workers=0"], "--workers"),
        (["--sts-qps=nan"], "--sts-qps"),
        (["--namespace=Shop"], "namespace"),
        (["--namespace-key=a key"], "--namespace-key"),
        (["--region=nowhere"], "region"),
        (["--lease-name=The_Lease"], "Lease"),
        (["--verbosity=loud"], "verbosity"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_what_cannot_work_is_said(words: list[str], said: str) -> None:
    """With the flag or the thing that is wrong."""
    with pytest.raises(Misconfigured, match=said) as fault:
        read_config(["serve", *words], HERE)
    assert fault.value.hint


def test_a_lease_needs_a_namespace(tmp_path: Path) -> None:
    """Outside of a pod somebody has to say one."""
    with pytest.raises(Misconfigured, match="Lease") as fault:
        read_config(["serve"], {"AWS_REGION": "us-west-2"}, tmp_path)
    assert "--lease-namespace" in fault.value.hint

"""Which interfaces a pattern means, and which settings are refused. What the rules do is judged on a real kernel."""

from __future__ import annotations

import pytest

from rolecall.daemons.agent.initialize import read_initialize_config
from rolecall.daemons.agent.intercept import Interception, Interfaces
from rolecall.edges import nftables
from rolecall.errors import Misconfigured

NODE = ("lo", "eth0", "ens5", "cni0", "cali0123456789a", "cali", "vethb")


def read(*flags: str) -> Interception | None:
    """Return what these flags have intercepted."""
    return read_initialize_config(["initialize", *flags]).interception


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        # As iptables reads -i: a plus at the end is any end, also none.
        (["cali+"], ["cali0123456789a", "cali"]),
        (["cni0"], ["cni0"]),
        (["cali"], ["cali"]),
        (["cni0", "veth+", "cni0"], ["cni0", "vethb"]),
        (["!eth0"], ["ens5", "cni0", "cali0123456789a", "cali", "vethb"]),
        (["!e+"], ["cni0", "cali0123456789a", "cali", "vethb"]),
        (["!eth0", "!ens5"], ["cni0", "cali0123456789a", "cali", "vethb"]),
        ([], ["eth0", "ens5", "cni0", "cali0123456789a", "cali", "vethb"]),
    ],
    ids=lambda names: " ".join(sorted(names)),  # a set has another order in each process
)
def test_patterns(patterns: list[str], meant: list[str]) -> None:
    """They mean what they mean to iptables, of which the older proxies' flags come; loopback is never meant."""
    interfaces = Interfaces.parse(patterns)
    assert {name for name in NODE if interfaces.has(name)} == set(meant)


@pytest.mark.parametrize(
    "pattern", ["", "+", "!", "!+", "lo", "!lo", "a" * 16, 'x" accept; "', "a/b", "a b", "a++", "é"]
)
def test_what_is_no_pattern(pattern: str) -> None:
    """It never comes into a rule."""
    with pytest.raises(Misconfigured, match="names no interface that pods arrive by"):
        Interfaces.parse([pattern])


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--dialect", "deny"], "of an interception"),
        (["--dry-run"], "of an interception"),
        (["--intercept", "imds", "--dialect", "kube2iam"], "by which interfaces pods arrive"),
        (["--intercept", "imds", "--imds-port", "8181"], "by which interfaces pods arrive"),
        (["--intercept", "imds", "-b", "169.254.170.23"], "deny has no door"),
        (["--intercept", "imds", "--dialect", "kiam", "--host-interface", "cni0", "-b", "127.0.0.1"], "loopback"),
        (["--intercept", "imds", "--dialect", "kiam", "--host-interface", "cni0", "--imds-port", "0"], "no door"),
        (["--intercept", "imds", "--host-interface", "cni0", "--host-interface", "!eth0"], "with and without !"),
        (["--intercept", "imds", "--dry-run", "--remove"], "nothing to print"),
        (["--intercept", "imds", "--check", "--remove"], "nothing to print"),
        (["--check"], "of an interception"),
        (["--intercept", "imds", "--dialect", "nothing"], "invalid choice"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_settings_that_cannot_work(flags: list[str], why: str) -> None:
    """Each is refused before anything is done."""
    with pytest.raises(Misconfigured, match=why):
        read(*flags)


def test_the_least_said_is_the_safest() -> None:
    """Nobody answers pods unless a dialect is named, behind any interface."""
    found = read("--intercept", "imds")
    assert found == Interception(Interfaces())
    assert read("--intercept", "imds", "--dialect", "deny") == found
    door = read("--intercept", "imds", "--imds-port", "80", "--host-interface", "cni0", "-b", "169.254.170.23")
    assert door == Interception(Interfaces(("cni0",), others=False), ("169.254.170.23",), 80)
    assert read() is None


def test_without_the_program_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not a part of every image."""
    monkeypatch.setattr(nftables.shutil, "which", lambda _, path: None)
    with pytest.raises(Misconfigured, match="there is no program nft") as refused:
        nftables.remove_table("rolecall")
    assert "nftables" in refused.value.hint

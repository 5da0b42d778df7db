"""What a pod of the command line has: its annotations, its container's variables, and who reads them."""

from __future__ import annotations

import click
import pytest

from rolecall.cli.pod_spec import PodSpec, Via, pod_spec

KEY = "iam.amazonaws.com/role"


@pytest.mark.parametrize(
    ("via", "annotations", "environment"),
    [("kube2iam", {KEY: "carts"}, {}), ("kiam", {KEY: "carts"}, {}), ("metadataproxy", {}, {"IAM_ROLE": "carts"})],
)
def test_a_role_is_where_its_proxy_looks(via: Via, annotations: dict[str, str], environment: dict[str, str]) -> None:
    """An annotation of the pod, or a variable of its container."""
    spec = pod_spec(via, "carts", [], [])
    assert (spec.annotations, spec.environment, spec.proxy) == (annotations, environment, via)


def test_what_is_written_out_goes_before_the_short_form() -> None:
    """Values may hold equal signs and be empty; the last of a name is taken."""
    spec = pod_spec("kube2iam", "carts", [f"{KEY}=orders", "a/b=", "c=d=e", "c=f=g"], ["X=1"])
    assert spec.annotations == {KEY: "orders", "a/b": "", "c": "f=g"}
    assert spec.environment == {"X": "1"}


def test_a_proxy_is_shown_only_what_it_reads() -> None:
    """Programs keep secrets in their environment; a repr shows none of it."""
    spec = PodSpec("metadataproxy", environment={"IAM_ROLE": "carts", "DATABASE": "secret"})
    assert spec.read_by_proxy == {"IAM_ROLE": "carts"}
    assert "secret" not in repr(spec)


@pytest.mark.parametrize(
    ("via", "role", "annotations", "variables", "told"),
    [
        (None, "carts", [], [], "--via kube2iam, kiam or metadataproxy"),
        ("host-role", "carts", [], [], "--via kube2iam, kiam or metadataproxy"),
        ("irsa", None, ["a=b"], [], "--via kube2iam or --via kiam"),
        ("metadataproxy", None, ["a=b"], [], "--via kube2iam or --via kiam"),
        ("kiam", None, ["a"], [], "--annotation 'a' is not NAME=VALUE"),
        ("kiam", None, [], ["=b"], "--env '=b' is not NAME=VALUE"),
    ],
)
def test_what_nobody_would_read_is_refused(
    via: Via | None, role: str | None, annotations: list[str], variables: list[str], told: str
) -> None:
    """A flag without an effect would look as if it had one."""
    with pytest.raises(click.UsageError) as refused:
        pod_spec(via, role, annotations, variables)
    assert told in refused.value.message

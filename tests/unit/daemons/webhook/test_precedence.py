"""Which generation a pod is injected for: by association, annotation, and what was asked for."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from rolecall.cli.main import cli
from rolecall.core.grant import Refusal
from rolecall.core.injection import Generation, Injection, Place
from rolecall.core.names import ClusterName, Namespace, Region, ServiceAccountName
from rolecall.core.records import ServiceAccountFacts
from rolecall.daemons.webhook.precedence import Surroundings, choose
from rolecall.errors import BadName

ROLE = "arn:aws:iam::123456789012:role/carts"
AROUND = Surroundings(Place(Region("us-west-2")))


def account(**annotations: str) -> ServiceAccountFacts:
    """Return a service account with these annotations of the EKS domain."""
    return ServiceAccountFacts(
        cluster=ClusterName("prod_1"),
        namespace=Namespace("shop"),
        name=ServiceAccountName("carts.v2"),
        uid="",
        annotations={f"eks.amazonaws.com/{name.replace('_', '-')}": value for name, value in annotations.items()},
    )


@pytest.mark.parametrize(
    ("association", "annotation", "only", "outcome"),
    [
        # aws-pod-identity.md §2.2: association first, annotation second, else nothing.
        ("a-1", ROLE, None, "pod-identity"),
        ("a-1", None, None, "pod-identity"),
        (None, ROLE, None, "irsa"),
        (None, None, None, "neither"),
        ("a-1", ROLE, "pod-identity", "pod-identity"),
        ("a-1", None, "pod-identity", "pod-identity"),
        (None, ROLE, "pod-identity", "no-association"),
        (None, None, "pod-identity", "no-association"),
        ("a-1", ROLE, "irsa", "irsa"),
        ("a-1", None, "irsa", "no-annotation"),
        (None, ROLE, "irsa", "irsa"),
        (None, None, "irsa", "no-annotation"),
        # An annotation without a text is none, as the webhook reads it.
        (None, "", None, "neither"),
        ("a-1", "", "irsa", "no-annotation"),
    ],
)
def test_the_table(association: str | None, annotation: str | None, only: Generation | None, outcome: str) -> None:
    """Every combination, and the reason word where nothing is injected."""
    found = choose(
        account(role_arn=annotation) if annotation is not None else account(), association, AROUND, only=only
    )
    assert (found.generation if isinstance(found, Injection) else found.reason) == outcome


@pytest.mark.parametrize("only", [None, "pod-identity", "irsa"])
def test_hints_name_commands_that_work(only: Generation | None) -> None:
    """Each command in a hint is taken by the command line as it stands, and is about this service account."""
    refusal = choose(account(), None, AROUND, only=only)
    assert isinstance(refusal, Refusal)
    assert "shop/carts.v2 of cluster prod_1" in refusal.sentence
    commands = re.findall(r"rolecall [^\n]* ARN", refusal.hint)
    assert len(commands) == (2 if only is None else 1)
    for text in commands:
        words = shlex.split(text)[1:]
        context = click.Context(cli)
        group = cli.get_command(context, words[0])
        assert isinstance(group, click.Group)
        verb = group.get_command(context, words[1])
        assert verb is not None, text
        params = verb.make_context(words[1], words[2:]).params
        given = {name: params[name] for name in ("cluster", "namespace", "account", "role_arn")}
        assert given == {"cluster": "prod_1", "namespace": "shop", "account": "carts.v2", "role_arn": "ARN"}


def test_mounts_and_door_are_the_surroundings() -> None:
    """On a node AWS's own paths and address (EKS User Guide); in a process those it is told."""
    node = dict(choose(account(), "a-1", AROUND).env)
    assert node["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://169.254.170.23/v1/credentials"
    assert node["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == (
        "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"
    )
    irsa = dict(choose(account(role_arn=ROLE), None, AROUND).env)
    assert irsa["AWS_WEB_IDENTITY_TOKEN_FILE"] == "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
    here = Surroundings(Place(), full_uri="http://127.0.0.1:1/v1/credentials", pod_identity_mount="/p", irsa_mount="/i")
    assert dict(choose(account(), "a-1", here).env) == {
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/p/eks-pod-identity-token",
    }
    assert dict(choose(account(role_arn=ROLE), None, here).env)["AWS_WEB_IDENTITY_TOKEN_FILE"] == "/i/token"


def test_an_annotation_that_cannot_work_is_an_error_only_where_it_counts() -> None:
    """With an association it is not looked at, as in AWS's webhook; alone it would fail later and in silence."""
    broken = account(role_arn="carts")
    assert isinstance(choose(broken, "a-1", AROUND), Injection)
    with pytest.raises(BadName, match=r"eks\.amazonaws\.com/role-arn"):
        choose(broken, None, AROUND)

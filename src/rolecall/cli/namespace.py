"""``rolecall namespace``: the annotations by which a namespace permits its pods roles, in the laptop's world."""

from __future__ import annotations

import click

from rolecall.cli.output import (
    cluster_option,
    namespace_option,
    output_option,
    show_json,
    show_table,
    state_dir_option,
)
from rolecall.cli.plane import Plane, with_plane
from rolecall.core.names import Namespace
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.errors import BadInput
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam

PERMITTED, ALLOWED = Kiam().namespace_key, Kube2iam().namespace_key


@click.group()
def namespace() -> None:
    """Annotate namespaces with the roles that kiam and kube2iam let their pods have.

    \b
    rolecall namespace annotate -n team iam.amazonaws.com/permitted='.*/team-.*'
    rolecall namespace list
    """


@namespace.command()
@cluster_option
@namespace_option(required=True)
@output_option
@state_dir_option
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
def annotate(cluster: str | None, namespace: str, output: str, state_dir: str | None, changes: tuple[str, ...]) -> None:
    """Annotate a namespace, as kubectl does: KEY=VALUE sets an annotation, KEY- removes it.

    \b
    iam.amazonaws.com/permitted      kiam: an expression for whole role ARNs
    iam.amazonaws.com/allowed-roles  kube2iam: a JSON list of roles, * in them

    kiam permits nothing without it; kube2iam asks only where the plane was started with --namespace-restrictions.
    """
    change = wire.Annotations(dict(map(_change, changes)))
    Namespace.parse(namespace)

    async def work(plane: Plane) -> wire.NamespaceFacts:
        name = (await plane.cluster(cluster)).name
        return await plane.ask("PUT", f"/clusters/{name}/namespaces/{namespace}", wire.NamespaceFacts, change)

    found = with_plane(state_dir, work)
    if output == "json":
        show_json(found)
    else:
        click.echo(f"namespace {found.name} of cluster {found.cluster} annotated")


@namespace.command("list")
@cluster_option
@output_option
@state_dir_option
def list_(cluster: str | None, output: str, state_dir: str | None) -> None:
    """List the namespaces that have annotations."""

    async def work(plane: Plane) -> tuple[wire.NamespaceFacts, ...]:
        name = (await plane.cluster(cluster)).name
        return (await plane.ask("GET", f"/clusters/{name}/namespaces", wire.NamespaceList)).namespaces

    found = with_plane(state_dir, work)
    if output == "json":
        show_json({"namespaces": found})
        return
    rows = [[one.name, one.annotations.get(PERMITTED, "-"), one.annotations.get(ALLOWED, "-")] for one in found]
    show_table(["NAMESPACE", "PERMITTED (kiam)", "ALLOWED ROLES (kube2iam)"], rows, empty="no annotated namespaces")


def _change(text: str) -> tuple[str, str | None]:
    """Return the annotation's key, and its value or None where it is to go."""
    key, equals, value = text.partition("=")
    if equals:
        return key, value
    if not text.endswith("-") or text == "-":
        raise BadInput(f"{text[:80]!r} is no change of an annotation", hint="write KEY=VALUE, or KEY- to remove it")
    return text.removesuffix("-"), None

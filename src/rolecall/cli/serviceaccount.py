"""``rolecall serviceaccount``: the annotations by which IRSA finds a role, in the laptop's world."""

from __future__ import annotations

import click

from rolecall.cli.output import (
    account_option,
    cluster_option,
    namespace_option,
    output_option,
    show_json,
    show_table,
    state_dir_option,
)
from rolecall.cli.plane import Plane, account_path, with_plane
from rolecall.core.injection import LONGEST_TOKEN, SHORTEST_TOKEN, check_audience
from rolecall.core.names import Namespace, RoleArn, ServiceAccountName
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.errors import BadInput
from rolecall.mechanisms.irsa.inject import PREFIX


@click.group()
def serviceaccount() -> None:
    """Annotate service accounts, and see which role each has.

    \b
    rolecall serviceaccount annotate -n carts -s carts \\
        --role-arn arn:aws:iam::123456789012:role/carts
    rolecall serviceaccount list
    """


@serviceaccount.command()
@cluster_option
@namespace_option(required=True)
@account_option(required=True)
@click.option("--role-arn", metavar="ARN", help=f"The role: annotation {PREFIX}/role-arn. An empty text removes it.")
@click.option("--audience", metavar="TEXT", help=f"The token's audience: annotation {PREFIX}/audience.")
@click.option("--token-expiration", metavar="SECONDS", help=f"The token's life: annotation {PREFIX}/token-expiration.")
@output_option
@state_dir_option
def annotate(
    cluster: str | None,
    namespace: str,
    account: str,
    role_arn: str | None,
    audience: str | None,
    token_expiration: str | None,
    output: str,
    state_dir: str | None,
) -> None:
    """Annotate a service account for IRSA; an empty text removes an annotation."""
    given = {"role-arn": role_arn, "audience": audience, "token-expiration": token_expiration}
    change = {f"{PREFIX}/{name}": value or None for name, value in given.items() if value is not None}
    if not change:
        raise BadInput("there is nothing to annotate", hint="give --role-arn ARN")
    if role_arn:
        RoleArn.parse(role_arn)
    if audience:
        check_audience(audience)
    if token_expiration:
        _check_expiration(token_expiration)
    Namespace.parse(namespace)
    ServiceAccountName.parse(account)

    async def work(plane: Plane) -> wire.Account:
        path = account_path((await plane.cluster(cluster)).name, namespace, account)
        return await plane.ask("PUT", path, wire.Account, wire.Annotations(change))

    found = with_plane(state_dir, work)
    if output == "json":
        show_json(found)
    else:
        click.echo(f"serviceaccount {found.namespace}/{found.name} of cluster {found.cluster} annotated")


@serviceaccount.command("list")
@cluster_option
@namespace_option(required=False)
@account_option(required=False)
@output_option
@state_dir_option
def list_(cluster: str | None, namespace: str | None, account: str | None, output: str, state_dir: str | None) -> None:
    """List the service accounts that were annotated, associated, or ran a pod."""

    async def work(plane: Plane) -> tuple[wire.Account, ...]:
        name = (await plane.cluster(cluster)).name
        return (await plane.ask("GET", f"/clusters/{name}/serviceaccounts", wire.AccountList)).accounts

    found = [
        one for one in with_plane(state_dir, work) if namespace in (None, one.namespace) and account in (None, one.name)
    ]
    if output == "json":
        show_json({"accounts": found})
        return
    heads = ["NAMESPACE", "SERVICE ACCOUNT", "POD IDENTITY", "IRSA"]
    rows = [
        [
            one.namespace,
            one.name,
            one.association.role_arn if one.association else "-",
            one.annotations.get(f"{PREFIX}/role-arn", "-"),
        ]
        for one in found
    ]
    show_table(heads, rows, empty="no service accounts")


def _check_expiration(text: str) -> None:
    if not (text.isascii() and text.isdecimal() and SHORTEST_TOKEN <= int(text[:9]) <= LONGEST_TOKEN and len(text) < 9):
        raise BadInput(
            f"--token-expiration {text[:80]!r} is not a lifetime",
            hint=f"give whole seconds, {SHORTEST_TOKEN} to {LONGEST_TOKEN}",
        )

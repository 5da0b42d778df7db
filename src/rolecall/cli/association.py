"""``rolecall association``: which service account has which role, by Pod Identity (the nouns of ``aws eks``)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import click

from rolecall.cli.output import (
    account_option,
    cluster_option,
    namespace_option,
    output_option,
    show_fields,
    show_json,
    show_table,
    state_dir_option,
)
from rolecall.cli.plane import Plane, with_plane
from rolecall.errors import BadInput

Association = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Which:
    """The association that a command names: by its id or ARN, or by namespace and service account."""

    association_id: str | None
    cluster: str | None
    namespace: str | None
    account: str | None


def names_one(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the words that name one association, as its argument `which`."""

    @click.argument("association_id", required=False)
    @cluster_option
    @namespace_option(required=False)
    @account_option(required=False)
    @functools.wraps(command)
    def named(
        association_id: str | None, cluster: str | None, namespace: str | None, account: str | None, **others: Any
    ) -> None:
        command(which=Which(association_id, cluster, namespace, account), **others)

    return named


@click.group()
def association() -> None:
    """Give service accounts their roles, by EKS Pod Identity.

    \b
    rolecall association create -n demo-ns -s demo-sa \\
        --role-arn arn:aws:iam::123456789012:role/demo
    rolecall association list
    rolecall association delete -n demo-ns -s demo-sa
    """


@association.command()
@cluster_option
@namespace_option(required=True)
@account_option(required=True)
@click.option("--role-arn", required=True, metavar="ARN", help="The role that its pods get.")
@click.option("--target-role-arn", metavar="ARN", help="A role of another account, assumed with the first one.")
@click.option("--disable-session-tags", is_flag=True, help="Issue sessions without the six session tags.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the association; may be repeated.")
@click.option("--client-request-token", metavar="TOKEN", help="33 to 126 characters that make a second try harmless.")
@output_option
@state_dir_option
def create(
    cluster: str | None,
    namespace: str,
    account: str,
    role_arn: str,
    target_role_arn: str | None,
    disable_session_tags: bool,
    tags: tuple[str, ...],
    client_request_token: str | None,
    output: str,
    state_dir: str | None,
) -> None:
    """Create an association: pods of this service account get this role."""
    params: dict[str, Any] = {"namespace": namespace, "serviceAccount": account, "roleArn": role_arn}
    params |= {"targetRoleArn": target_role_arn} if target_role_arn else {}
    params |= {"disableSessionTags": True} if disable_session_tags else {}
    params |= {"tags": dict(map(_tag, tags))} if tags else {}
    params |= {"clientRequestToken": client_request_token} if client_request_token else {}

    async def work(plane: Plane) -> Association:
        answer = await plane.eks("POST", _path((await plane.cluster(cluster)).name), params)
        return _one(answer)

    _show(with_plane(state_dir, work), output)


@association.command("list")
@cluster_option
@namespace_option(required=False)
@account_option(required=False)
@output_option
@state_dir_option
def list_(cluster: str | None, namespace: str | None, account: str | None, output: str, state_dir: str | None) -> None:
    """List a cluster's associations, or those of a namespace or service account."""
    found = with_plane(state_dir, lambda plane: _all(plane, cluster, namespace, account))
    if output == "json":
        show_json({"associations": found})
        return
    rows = [[one["namespace"], one["serviceAccount"], one["associationId"], one["clusterName"]] for one in found]
    show_table(["NAMESPACE", "SERVICE ACCOUNT", "ASSOCIATION", "CLUSTER"], rows, empty="no associations")


@association.command()
@names_one
@output_option
@state_dir_option
def describe(which: Which, output: str, state_dir: str | None) -> None:
    """Show an association, by its id or ARN, or by -n and -s."""

    async def work(plane: Plane) -> Association:
        path = await _path_of(plane, which)
        return _one(await plane.eks("GET", path))

    _show(with_plane(state_dir, work), output)


@association.command()
@names_one
@click.option("--role-arn", metavar="ARN", help="Another role.")
@click.option("--target-role-arn", metavar="ARN", help="Another target role; an empty text removes it.")
@click.option("--disable-session-tags/--enable-session-tags", default=None, help="Leave the session tags out, or not.")
@output_option
@state_dir_option
def update(
    which: Which,
    role_arn: str | None,
    target_role_arn: str | None,
    disable_session_tags: bool | None,
    output: str,
    state_dir: str | None,
) -> None:
    """Change the role, the target role or the session tags of an association."""
    given = {"roleArn": role_arn, "targetRoleArn": target_role_arn, "disableSessionTags": disable_session_tags}
    params = {name: value for name, value in given.items() if value is not None}

    async def work(plane: Plane) -> Association:
        path = await _path_of(plane, which)
        return _one(await plane.eks("POST", path, params))

    _show(with_plane(state_dir, work), output)


@association.command()
@names_one
@output_option
@state_dir_option
def delete(which: Which, output: str, state_dir: str | None) -> None:
    """Delete an association: its pods get no new credentials; the agent forgets theirs within seconds."""

    async def work(plane: Plane) -> Association:
        path = await _path_of(plane, which)
        return _one(await plane.eks("DELETE", path))

    gone = with_plane(state_dir, work)
    if output == "json":
        show_json({"association": gone})
    else:
        click.echo(f"association {gone['associationId']} of {gone['namespace']}/{gone['serviceAccount']} deleted")


def _path(cluster: str, association_id: str = "") -> str:
    path = f"/clusters/{cluster}/pod-identity-associations"
    return f"{path}/{quote(association_id, safe='')}" if association_id else path


def _one(answer: dict[str, Any]) -> Association:
    found: Association = answer["association"]
    return found


async def _all(plane: Plane, cluster: str | None, namespace: str | None, account: str | None) -> list[Association]:
    """Return the associations on all pages."""
    path = _path((await plane.cluster(cluster)).name)
    query = {name: value for name, value in (("namespace", namespace), ("serviceAccount", account)) if value}
    found: list[Association] = []
    while True:
        page = await plane.eks("GET", path, query=query)
        found += page["associations"]
        if not page.get("nextToken"):
            return found
        query["nextToken"] = page["nextToken"]


async def _path_of(plane: Plane, which: Which) -> str:
    """Return the path of the association that the words name; raises `BadInput` where they name none."""
    identifier, namespace, account = which.association_id, which.namespace, which.account
    if identifier and (namespace or account):
        raise BadInput("that names an association twice", hint="give its id, or -n NAMESPACE and -s SERVICE_ACCOUNT")
    chosen = (await plane.cluster(which.cluster or _cluster_of(identifier or ""))).name
    if identifier:
        return _path(chosen, identifier)
    if not namespace or not account:
        raise BadInput("which association?", hint="give its id, or -n NAMESPACE and -s SERVICE_ACCOUNT")
    found = await _all(plane, chosen, namespace, account)
    if not found:
        raise BadInput(
            f"service account {namespace}/{account} of cluster {chosen} has no association",
            hint="see what there is: rolecall association list",
        )
    return _path(chosen, found[0]["associationId"])


def _cluster_of(arn: str) -> str | None:
    """Return the cluster in an association's ARN, ``…:podidentityassociation/CLUSTER/ID``; None where it is none."""
    kind, *parts = arn.rpartition(":")[2].split("/")
    return parts[0] if kind == "podidentityassociation" and len(parts) == 2 else None


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"--tag {text!r} has no value", hint="write it as KEY=VALUE")
    return key, value


def _show(found: Association, output: str) -> None:
    if output == "json":
        show_json({"association": found})
        return
    show_fields(
        {
            "Association": found["associationId"],
            "ARN": found["associationArn"],
            "Cluster": found["clusterName"],
            "Service account": f"{found['namespace']}/{found['serviceAccount']}",
            "Role": found["roleArn"],
            "Target role": found.get("targetRoleArn"),
            "External id": found.get("externalId"),
            "Session tags": "off" if found.get("disableSessionTags") else "on",
            "Tags": ", ".join(f"{key}={value}" for key, value in found.get("tags", {}).items()),
        }
    )

"""``rolecall token``: service-account tokens, made by the plane and taken apart here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, BinaryIO

import click

from rolecall.cli.output import (
    account_option,
    cluster_option,
    namespace_option,
    output_option,
    plain,
    show_json,
    state_dir_option,
)
from rolecall.cli.plane import Plane, with_plane
from rolecall.core.tokens.jws import LONGEST_TOKEN, Jws, split
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.errors import BadInput
from rolecall.mechanisms.irsa.inject import AUDIENCE

_TIMES = ("exp", "iat", "nbf")


@click.group()
def token() -> None:
    """Make service-account tokens as kube-apiserver would, and read them.

    \b
    rolecall token create -n carts -s carts
    rolecall token create -n carts -s carts | rolecall token decode
    """


@token.command()
@cluster_option
@namespace_option(required=True)
@account_option(required=True)
@click.option("--audience", default=AUDIENCE, show_default=True, metavar="TEXT", help="Who is to accept it.")
@click.option("--duration", type=int, default=3600, show_default=True, metavar="SECONDS", help="Its life: 600 or more.")
@click.option("--pod", metavar="NAME", help="Bind it to a pod that runs now (under `rolecall run`).")
@output_option
@state_dir_option
def create(
    cluster: str | None,
    namespace: str,
    account: str,
    audience: str,
    duration: int,
    pod: str | None,
    output: str,
    state_dir: str | None,
) -> None:
    """Print a token of a service account. Whoever holds it is that service account."""

    async def work(plane: Plane) -> wire.Token:
        name = (await plane.cluster(cluster)).name
        uid = await _pod_uid(plane, name, namespace, pod) if pod else None
        wanted = wire.NewToken(namespace, account, audience, duration, uid)
        return await plane.ask("POST", f"/clusters/{name}/tokens", wire.Token, wanted)

    made = with_plane(state_dir, work)
    if output == "json":
        show_json(made)
    else:
        click.echo(made.token)


@token.command()
@click.argument("file", type=click.File("rb"), default="-")
@output_option
def decode(file: BinaryIO, output: str) -> None:
    """Show what a token says, from FILE or standard input. Nothing is verified.

    The signature is not shown: without it, what is printed is of no use to anybody else.
    """
    if file.isatty():
        click.echo("paste the token, then press Ctrl-D", err=True)
    jws = split(file.read(LONGEST_TOKEN + 2).decode("utf-8", "replace").strip())
    if output == "json":
        show_json({"header": jws.header, "claims": jws.payload})
    else:
        click.echo(_shown(jws))


def _shown(jws: Jws) -> str:
    lines = ["header"]
    lines += [f"  {plain(name)}: {plain(value)}" for name, value in jws.header.items()]
    lines.append("claims (nothing here was verified)")
    for name, value in jws.payload.items():
        lines.append(f"  {plain(name)}: {plain(value)}{_date(value) if name in _TIMES else ''}")
    return "\n".join(lines)


def _date(value: Any) -> str:
    try:
        return f"  ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    except (TypeError, ValueError, OverflowError, OSError):
        return "  (not a time)"


async def _pod_uid(plane: Plane, cluster: str, namespace: str, name: str) -> str:
    pods = (await plane.ask("GET", f"/clusters/{cluster}/pods", wire.PodList)).pods
    found = next((pod for pod in pods if (pod.namespace, pod.name) == (namespace, name)), None)
    if found is None:
        names = ", ".join(pod.name for pod in pods if pod.namespace == namespace) or "none"
        raise BadInput(f"no pod {namespace}/{name} runs in cluster {cluster}", hint=f"running there: {names}")
    return found.uid

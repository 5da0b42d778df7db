"""``rolecall run``: any program, as a pod of a service account would run it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import get_args

import click

from rolecall.cli.doors import Doors
from rolecall.cli.output import account_option, cluster_option, namespace_option, state_dir_option
from rolecall.cli.plane import Plane, with_plane
from rolecall.cli.pod import injected, keep_alive, mount_token, pod_environment, rotate, running_pod
from rolecall.cli.pod_spec import PodSpec, Via, pod_spec
from rolecall.core.injection import Injection
from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.edges.clock import SystemClock
from rolecall.edges.foreground import find_program, run_in_foreground
from rolecall.edges.run_dir import RunDir, run_dir

_HOST_ROLE = (
    "rolecall: host-role: any pod is the node. This program has the node's role, as every pod on it has, "
    "whatever its service account"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    namespace: Namespace
    account: ServiceAccountName
    cluster: str | None
    spec: PodSpec
    without_role: bool
    own_network: bool


@click.command(context_settings={"allow_interspersed_args": False})
@namespace_option(required=True)
@account_option(required=True)
@click.option(
    "--via",
    type=click.Choice(get_args(Via)),
    help="How it asks for its role.  [default: what the service account has; Pod Identity where it has both]",
)
@click.option("--role", metavar="ROLE", help="Its role, by name or ARN, where a proxy is told it by the pod.")
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="One of the pod's; repeatable.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="One of its variables; repeatable.")
@cluster_option
@click.option("--without-role", is_flag=True, help="Run it as a pod that nobody gave a role.")
@click.option("--own-network", is_flag=True, help="In a network of its own, with IMDS at its real address; needs root.")
@state_dir_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    namespace: str,
    account: str,
    via: Via | None,
    role: str | None,
    annotations: tuple[str, ...],
    variables: tuple[str, ...],
    cluster: str | None,
    without_role: bool,
    own_network: bool,
    state_dir: str | None,
    command: tuple[str, ...],
) -> int:
    """Run a program as a pod of a service account: with its role's credentials and nothing else of AWS.

    \b
    rolecall run -n demo-ns -s demo-sa -- aws sts get-caller-identity
    rolecall run -n carts -s carts --via irsa -- python app.py
    rolecall run -n carts -s carts --via kube2iam --role carts -- python app.py
    rolecall run -n carts -s carts --via host-role -- python app.py

    The program gets your environment without any AWS_* variable, and what the webhooks would add: region, token
    file, and the role or the agent's address. A pod is registered while it runs, and its token is rotated.

    The older generations are at the metadata service: host-role is the node's own, for any pod; kube2iam and kiam
    read the pod's annotation iam.amazonaws.com/role (--role, --annotation), metadataproxy its container's variable
    IAM_ROLE (--role, --env). With --own-network the service is at 169.254.169.254, where every SDK looks by
    itself, in a network namespace that has no more than this, the plane and the agent.

    The exit code is the program's, 128+n if signal n ended it; 125: Rolecall itself failed, 126: the program
    cannot be executed, 127: it is not found.
    """
    if without_role and via is not None:
        raise click.UsageError("--without-role and --via exclude each other")
    spec = pod_spec(via, role, annotations, variables)
    wanted = Wanted(
        Namespace.parse(namespace), ServiceAccountName.parse(account), cluster, spec, without_role, own_network
    )
    program = find_program(command[0], os.environ.get("PATH", os.defpath))
    return with_plane(state_dir, lambda plane: _run(plane, wanted, program, command))


async def _run(plane: Plane, wanted: Wanted, program: str, command: tuple[str, ...]) -> int:
    clock = SystemClock()
    cluster = await plane.cluster(wanted.cluster)
    account = await plane.account(cluster.name, wanted.namespace, wanted.account)
    with run_dir(plane.state) as files:
        injection = _injection(plane, account, wanted, files)
        async with running_pod(plane, account, wanted.spec) as pod:
            keepers = [asyncio.create_task(keep_alive(plane, pod, clock), name="run.heartbeat")]
            if injection is not None:
                token = await mount_token(plane, pod, injection, files)
                rotation = rotate(plane, pod, injection, files, token, clock)
                keepers.append(asyncio.create_task(rotation, name="run.rotate"))
            doors = Doors(plane.running, wanted.own_network, _metadata(plane, pod, wanted.spec))
            environment = pod_environment(os.environ, doors, files, injection, wanted.spec)
            try:
                async with doors.network() as enter:
                    return await run_in_foreground(program, command, environment, enter=enter)
            finally:
                for keeper in keepers:
                    keeper.cancel()
                await asyncio.gather(*keepers, return_exceptions=True)


def _injection(plane: Plane, account: wire.Account, wanted: Wanted, files: RunDir) -> Injection | None:
    """Return what the webhooks give the pod; nothing where its role is to come from the metadata service."""
    if wanted.without_role or (wanted.spec.via is not None and wanted.spec.generation is None):
        return None
    return injected(account, plane.running, files.path, wanted.spec.generation)


def _metadata(plane: Plane, pod: wire.Pod, spec: PodSpec) -> str | None:
    """Return where the pod finds its metadata service, if it is to find one."""
    if spec.via != "host-role":
        return pod.metadata_url
    click.echo(_HOST_ROLE, err=True)
    return plane.running.imds_url

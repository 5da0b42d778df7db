"""One pod of the laptop world: registered, injected, kept alive, and ended with its program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import click

from rolecall.cli.doors import Doors
from rolecall.cli.output import plain
from rolecall.cli.plane import Plane
from rolecall.cli.pod_spec import PodSpec
from rolecall.core.backoff import delays
from rolecall.core.grant import Refusal
from rolecall.core.injection import Generation, Injection, Place
from rolecall.core.names import ClusterName, Namespace, Region, ServiceAccountName
from rolecall.core.records import ServiceAccountFacts
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.daemons.local_aws.state_files import no_proxy
from rolecall.daemons.webhook.precedence import Surroundings, choose
from rolecall.edges import entropy
from rolecall.edges.clock import Clock
from rolecall.edges.run_dir import RunDir
from rolecall.edges.state_dir import Running
from rolecall.errors import Refused, RolecallError, ServiceError
from rolecall.mechanisms.imds.inject import environment as metadata_environment
from rolecall.mechanisms.pod_identity.door import PATH

ROTATE_AT = 0.8
"""The share of a token's life after which the kubelet replaces it (Kubernetes, "Configure Service Accounts")."""
HEARTBEAT = 20.0


@asynccontextmanager
async def running_pod(plane: Plane, account: wire.Account, spec: PodSpec) -> AsyncIterator[wire.Pod]:
    """Register a pod; end it after, so that its tokens are refused from then on."""
    pods = f"/clusters/{account.cluster}/pods"
    new = wire.NewPod(account.namespace, account.name, spec.proxy, dict(spec.annotations), spec.read_by_proxy)
    pod = await plane.ask("POST", pods, wire.Pod, new)
    try:
        yield pod
    finally:
        with suppress(RolecallError):  # a plane that is gone has forgotten the pod within a minute
            await plane.ask("DELETE", f"{pods}/{pod.uid}", wire.Pod)


def injected(account: wire.Account, running: Running, files: Path, via: Generation | None) -> Injection:
    """Return what the webhooks would give the pod, with our paths; raises `Refused` where that is nothing."""
    facts = ServiceAccountFacts(
        cluster=ClusterName(account.cluster),
        namespace=Namespace(account.namespace),
        name=ServiceAccountName(account.name),
        uid=account.uid,
        annotations=account.annotations,
    )
    around = Surroundings(
        place=Place(region=Region(running.region)),
        full_uri=f"{running.agent_url}{PATH}",
        pod_identity_mount=str(files),
        irsa_mount=str(files),
    )
    association = account.association
    chosen = choose(facts, association.association_id if association else None, around, only=via)
    if isinstance(chosen, Refusal):
        raise Refused(chosen)
    return chosen


def pod_environment(
    own: Mapping[str, str], doors: Doors, files: RunDir, injection: Injection | None, spec: PodSpec
) -> dict[str, str]:
    """Return the program's environment: the caller's without any ``AWS_*``, and what a pod here is given.

    A variable of the pod's own wins against an injected one, as in AWS's webhook. Config and credentials files are
    empty ones, so that no profile of the caller's home comes through.
    """
    kept = {name: value for name, value in own.items() if not name.startswith("AWS_")}
    direct = no_proxy({**own, **spec.environment}, *doors.hosts)
    empty = files.write("empty", b"")
    running, place = doors.running, Place(Region(doors.running.region))
    return kept | {
        **dict(injection.env if injection else metadata_environment(place, endpoint=doors.endpoint)),
        **spec.environment,
        "AWS_ENDPOINT_URL": running.url,
        "AWS_ENDPOINT_URL_STS": running.url,
        "AWS_CONFIG_FILE": str(empty),
        "AWS_SHARED_CREDENTIALS_FILE": str(empty),
        "AWS_EC2_METADATA_DISABLED": "true" if doors.metadata is None else "false",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


async def mount_token(plane: Plane, pod: wire.Pod, injection: Injection, files: RunDir) -> wire.Token:
    """Write a fresh token of the pod where its environment says, without a newline; return it."""
    wanted = wire.NewToken(
        namespace=pod.namespace,
        service_account=pod.service_account,
        audience=injection.token.audience,
        expiration_seconds=injection.token.expiration,
        pod_uid=pod.uid,
    )
    token = await plane.ask("POST", f"/clusters/{pod.cluster}/tokens", wire.Token, wanted)
    files.write(injection.token.file, token.token.encode())
    return token


async def rotate(
    plane: Plane, pod: wire.Pod, injection: Injection, files: RunDir, token: wire.Token, clock: Clock
) -> None:
    """Replace the token at 80 % of its life, for ever; a plane that does not answer is asked again.

    The wall clock decides: a laptop that slept has a token that is older than its process has waited.
    """
    pauses: Iterator[float] | None = None
    due = _rotation_due(token, clock.now())
    while True:
        while (left := due - clock.now()) > 0:
            await clock.sleep(min(left, HEARTBEAT))
        try:
            token = await mount_token(plane, pod, injection, files)
            due, pauses = _rotation_due(token, clock.now()), None
        except RolecallError as fault:
            if pauses is None:
                _warn(f"the pod's token could not be rotated ({fault.message}); trying again")
                pauses = delays(base=0.5, cap=10.0, dice=entropy.dice, least=0.5)
            due = clock.now() + next(pauses)


async def keep_alive(plane: Plane, pod: wire.Pod, clock: Clock) -> None:
    """Send the pod's heartbeat until it has ended; what does not answer is asked again at the next one.

    That the plane is away, or has come back elsewhere, is said once: its program sees nothing but failing calls.
    """
    away, door = False, pod.metadata_url
    while True:
        await clock.sleep(HEARTBEAT)
        try:
            now = await plane.ask("POST", f"/clusters/{pod.cluster}/pods/{pod.uid}/heartbeat", wire.Pod)
            away = False
            if door != now.metadata_url:
                _warn("the plane was started anew, and this pod's metadata service is gone: start the program again")
                door = now.metadata_url
        except ServiceError as fault:
            if fault.status == 404:
                _warn(f"the plane does not know this pod any more ({fault.message}): it gets no new credentials")
                return
        except RolecallError as fault:
            if not away:
                _warn(_whereabouts(plane) or f"the plane cannot be asked ({fault.message}); trying again")
            away = True


def _whereabouts(plane: Plane) -> str:
    """Say where the plane is now, if that is not where the program was sent."""
    now = plane.state.running()
    if now is None or (now.url, now.agent_url) == (plane.running.url, plane.running.agent_url):
        return ""
    return f"the plane listens at {now.url} now, which this program cannot know: start it again"


def _rotation_due(token: wire.Token, now: float) -> float:
    """Return when the token is to be replaced: a little after now at the soonest, whatever its life is."""
    return max(now + 0.2, token.issued_at + ROTATE_AT * (token.expires_at - token.issued_at))


def _warn(sentence: str) -> None:
    click.echo(f"rolecall: {plain(sentence)}", err=True)

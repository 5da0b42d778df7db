"""``rolecall webhook``: admission. ``mutate`` is the webhook's decision on files, without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import click
import msgspec

from rolecall.cli.output import plain, show_json
from rolecall.core.names import Region
from rolecall.daemons.webhook.documents import Accounts, Mutated, accounts, mutate, objects
from rolecall.daemons.webhook.review import warnings_of
from rolecall.daemons.webhook.rules import Rules
from rolecall.errors import BadInput
from rolecall.mechanisms.irsa.inject import PREFIX

_LONGEST_FILE = 16 << 20


@click.group()
def webhook() -> None:
    """Admission: what a pod is given so that it can ask for its role."""


@webhook.command(
    "serve",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve_(arguments: tuple[str, ...]) -> int:
    """Answer the API server's reviews of new pods: `rolecall webhook serve --help`."""
    from rolecall.daemons.webhook.main import main

    return main(["serve", *arguments])


@webhook.command("mutate")
@click.option("-f", "--filename", "file", type=click.File("rb"), required=True, help="Pods, workloads; - is stdin.")
@click.option("--service-account-file", type=click.File("rb"), help="Their service accounts, with annotations.")
@click.option("--association", metavar="ID", help="As if their service accounts had this association.")
@click.option("-n", "--namespace", default="default", show_default=True, metavar="NS", help="Of what names none.")
@click.option("--annotation-prefix", default=PREFIX, show_default=True, metavar="DOMAIN", help="Of the annotations.")
@click.option("--aws-default-region", "region", metavar="REGION", help="The region that pods are told.")
@click.option("--sts-regional-endpoint", is_flag=True, help="Let STS be asked in that region.")
@click.option("--skip-host-network", is_flag=True, help="Leave pods on the node's network alone.")
@click.option("--strict", is_flag=True, help="The patches of AWS's webhook, which replace whole lists.")
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json", "patch"]), default="yaml", show_default=True,
    help="The objects after it, or its JSON patches.",
)  # fmt: skip
def mutate_(
    file: BinaryIO,
    service_account_file: BinaryIO | None,
    association: str | None,
    namespace: str,
    annotation_prefix: str,
    region: str | None,
    sts_regional_endpoint: bool,
    skip_host_network: bool,
    strict: bool,
    output: str,
) -> int:
    """Print what the webhook would make of pods in a file, and why, without a cluster.

    Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs, as YAML or JSON; what is none of them
    is passed through. Reasons go to stderr. Exits with 1 where a pod would go without its role.

    \b
    rolecall webhook mutate -f deployment.yaml --service-account-file sa.yaml
    kubectl get deployment carts -o yaml |
        rolecall webhook mutate -f - --association a-1 -o patch
    """
    known = accounts(_read(service_account_file), namespace) if service_account_file else None
    rules = Rules(
        prefix=annotation_prefix,
        region=Region.parse(region) if region else None,
        sts_regional=sts_regional_endpoint,
        skip_host_network=skip_host_network,
        strict=strict,
        expiration_jitter=0,
    )
    found = [mutate(one, namespace, Accounts(known, association), rules) for one in objects(_read(file))]
    if not any(one.answer for one in found):
        raise BadInput("there is no pod in the file", hint="give it a Pod, Deployment, StatefulSet, DaemonSet or Job")
    for one in found:
        _say_why(one)
    _show(found, output)
    return 0 if all(one.injected for one in found if one.answer) else 1


def _say_why(one: Mutated) -> None:
    if one.answer is None:
        return
    verdict = one.answer.verdict
    refused = "" if verdict.allowed else "refused: "
    click.echo(f"{plain(one.name)}: {refused}{plain(verdict.reason)}: {plain(verdict.sentence)}", err=True)
    for warning in warnings_of(verdict):
        click.echo(f"  warning: {plain(warning)}", err=True)


def _show(found: Sequence[Mutated], output: str) -> None:
    if output == "patch":
        for one in found:
            if one.answer is not None:
                click.echo(msgspec.json.encode(one.operations))
        return
    documents = [one.document for one in found]
    if output == "json":
        show_json(documents[0] if len(documents) == 1 else {"apiVersion": "v1", "kind": "List", "items": documents})
        return
    import yaml

    # Through JSON, for YAML would write what two places share as an anchor.
    separate = [msgspec.json.decode(msgspec.json.encode(one)) for one in documents]
    click.echo(yaml.safe_dump_all(separate, sort_keys=False, allow_unicode=True), nl=False)


def _read(file: BinaryIO) -> list[Any]:
    """Return the documents of a YAML or JSON file; raises `BadInput`."""
    import yaml

    name, text = getattr(file, "name", "-"), file.read(_LONGEST_FILE + 1)
    if len(text) > _LONGEST_FILE:
        raise BadInput(f"{name}: more than {_LONGEST_FILE >> 20} MiB")
    try:
        loader = yaml.SafeLoader(text)
        # As kubectl reads it: a time is a text.
        loader.yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
            for first, found in loader.yaml_implicit_resolvers.items()
        }
        documents = []
        while loader.check_data():
            documents.append(loader.get_data())
        decoded: list[Any] = msgspec.json.decode(msgspec.json.encode(documents))
    except (yaml.YAMLError, msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError, ValueError) as fault:
        said = " ".join(str(fault).split())[:300] or type(fault).__name__
        raise BadInput(f"{name} is neither YAML nor JSON: {said}") from None
    return decoded

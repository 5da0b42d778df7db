"""``rolecall dev``: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import logging
import os
import shlex
from datetime import datetime
from pathlib import Path

import click

from rolecall.cli.output import state_dir_option
from rolecall.core.names import AccountId, Namespace, Region, ServiceAccountName
from rolecall.core.source import Subject
from rolecall.edges.state_dir import Running, choose_state_dir
from rolecall.edges.telemetry import LEVELS, ROOT
from rolecall.errors import BadName, Misconfigured


@click.command()
@click.option("--listen", default="127.0.0.1:4500", show_default=True, metavar="ADDRESS:PORT", help="The AWS port.")
@click.option(
    "--agent-listen", default="127.0.0.1:4501", show_default=True, metavar="ADDRESS:PORT", help="The agent's door."
)
@click.option(
    "--imds-listen", default="127.0.0.1:4502", show_default=True, metavar="ADDRESS:PORT", help="The node's IMDS."
)
@state_dir_option
@click.option("--account-id", default="123456789012", show_default=True, metavar="ID", help="The AWS account it plays.")
@click.option("--region", default="us-west-2", show_default=True, metavar="REGION", help="The AWS region it plays.")
@click.option("--max-session-seconds", type=int, metavar="N", help="End role sessions after N seconds, to see renewal.")
@click.option("--max-token-seconds", type=int, metavar="N", help="End pod tokens after N seconds, to see rotation.")
@click.option(
    "--trust-policy-quota", type=int, default=2048, show_default=True, metavar="N", help="Characters: 2048 to 8192."
)
@click.option("--namespace-restrictions", is_flag=True, help="kube2iam asks the namespace which roles it allows.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Another Host name to answer to; may be repeated.")
@click.option(
    "--allow-private-issuer", multiple=True, metavar="HOST", help="An OIDC issuer that may have a private address."
)
@click.option(
    "--agent-service-account", multiple=True, metavar="NAMESPACE/NAME", help="Agents that may show their own token."
)
@click.option("--insecure-expose", is_flag=True, help="Allow --listen on an address that other machines reach.")
@click.option("-v", "--verbosity", type=click.Choice(list(LEVELS)), default="info", help="What the log file holds.")
def dev(
    listen: str,
    agent_listen: str,
    imds_listen: str,
    state_dir: str | None,
    account_id: str,
    region: str,
    max_session_seconds: int | None,
    max_token_seconds: int | None,
    trust_policy_quota: int,
    namespace_restrictions: bool,
    allow_host: tuple[str, ...],
    allow_private_issuer: tuple[str, ...],
    agent_service_account: tuple[str, ...],
    insecure_expose: bool,
    verbosity: str,
) -> int:
    """Run AWS's identity services (STS, IAM, EKS, EKS Auth) and the node agent here, without a cloud account.

    \b
    rolecall dev                           keep the state for the next start
    rolecall dev --state-dir /tmp/try      a second, separate world
    rolecall dev --max-session-seconds 30  see clients renew their credentials

    It starts empty. The screen says which line to paste into a shell, so that every AWS client there uses it. What
    is refused is shown with its reason; everything is in the log files of the state directory.
    """
    from rolecall.daemons.local_aws.config import PlaneConfig
    from rolecall.daemons.local_aws.main import run

    state = choose_state_dir(state_dir, os.environ)
    config = PlaneConfig(
        *_address(listen, "--listen"),
        *_address(agent_listen, "--agent-listen"),
        *_address(imds_listen, "--imds-listen"),
        state_dir=state,
        account=AccountId.parse(account_id),
        region=Region.parse(region),
        max_session_seconds=max_session_seconds,
        max_token_seconds=max_token_seconds,
        trust_policy_quota=trust_policy_quota,
        namespace_restrictions=namespace_restrictions,
        allow_hosts=allow_host,
        insecure_expose=insecure_expose,
        allow_private_issuers=allow_private_issuer,
        agent_accounts=tuple(map(_subject, agent_service_account)),
        verbosity=verbosity,
    )

    return run(config, started=_show_refusals, announce=lambda running: click.echo(screen(running, state)))


def _subject(text: str) -> Subject:
    """Return the service account of ``kube-system/rolecall-agent``."""
    namespace, _, name = text.partition("/")
    try:
        return Subject(Namespace.parse(namespace), ServiceAccountName.parse(name))
    except BadName as fault:
        raise Misconfigured(f"--agent-service-account: {fault.message}", hint="write it as NAMESPACE/NAME") from None


def _address(text: str, flag: str) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:4500``, ``[::1]:4500`` or ``:4500``; port 0 lets the system choose."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    host = "127.0.0.1" if host == "localhost" else host
    try:
        ipaddress.ip_address(host)
        good = bool(colon) and port.isascii() and port.isdigit() and int(port) < 65_536
    except ValueError:
        good = False
    if not good:
        raise Misconfigured(f"{flag} {text!r} is not an address", hint="write it as 127.0.0.1:4500 or [::1]:4500")
    return host, int(port)


def screen(running: Running, state: Path) -> str:
    """Return what a person sees once everything serves."""
    return f"""\
rolecall {running.version}: an AWS account of your own, account {running.account}, region {running.region}

  STS, IAM, EKS, EKS Auth   {running.url}
  Pod Identity agent        {running.agent_url}/v1/credentials
  EC2 instance metadata     {running.imds_url}/latest/meta-data/
  state, keys and logs      {state}

Paste this into a shell, and its AWS clients are this account's admin:

  source {shlex.quote(str(state / "env"))}

Then give a program its pod's role:

  aws eks create-cluster --name demo --resources-vpc-config {{}} \\
    --role-arn arn:aws:iam::{running.account}:role/any
  rolecall association create -n NAMESPACE -s SERVICE_ACCOUNT --role-arn ARN
  rolecall run -n NAMESPACE -s SERVICE_ACCOUNT -- aws sts get-caller-identity

Ctrl-C stops it; the next start goes on where this one was.
What is refused is shown below.
"""


def _show_refusals() -> None:
    handler = Refusals()
    handler.setLevel(logging.INFO)
    logging.getLogger(ROOT).addHandler(handler)


class Refusals(logging.Handler):
    """Shows a person what the plane refused, and why, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a refused call; other events are for the log file."""
        fields = getattr(record, "fields", {})
        if record.getMessage() != "plane.answered" or int(fields.get("status", 0)) < 400:
            return
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        who = str(fields.get("caller", "-")).rpartition(":")[2]
        lines = f"{at}  {fields.get('operation')}  {fields.get('code')}  {who}", f"    {fields.get('why')}"
        for line in lines:
            # Parts of it may be a client's own words: they must not steer the terminal.
            click.echo("".join(letter if letter.isprintable() else "?" for letter in line), err=True)

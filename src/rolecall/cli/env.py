"""``rolecall env``: what a shell must know to use the plane."""

from __future__ import annotations

import os

import click

from rolecall.cli.output import show_json, state_dir_option
from rolecall.cli.plane import find_plane
from rolecall.daemons.local_aws.state_files import Urls, no_proxy, shell_environment, shell_script


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["shell", "json"]), default="shell", show_default=True, help="What to print."
)
@state_dir_option
def env(output: str, state_dir: str | None) -> None:
    """Print the variables that make AWS clients use the running plane, as its admin.

    \b
    eval "$(rolecall env)"
    aws sts get-caller-identity
    """
    state, running = find_plane(state_dir)
    urls = Urls(running.url, running.imds_url)
    if output == "json":
        direct = no_proxy(os.environ)
        variables = shell_environment(state, urls, region=running.region)
        show_json(variables | {"NO_PROXY": direct, "no_proxy": direct})
    else:
        click.echo(shell_script(state, urls, region=running.region), nl=False)

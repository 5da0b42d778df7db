"""``rolecall env``: what a shell must know to use the plane."""

from __future__ import annotations

import shlex

import click

from rolecall.cli.output import show_json, state_dir_option
from rolecall.cli.plane import find_plane
from rolecall.daemons.local_aws.state_files import CLEARED, shell_environment


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
    variables = shell_environment(state, url=running.url, region=running.region)
    if output == "json":
        show_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo(f"unset {' '.join(CLEARED)}")

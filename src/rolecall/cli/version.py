"""``rolecall version``."""

from __future__ import annotations

import platform

import click

from rolecall import __version__
from rolecall.cli.output import output_option, show_json


@click.command()
@output_option
def version(output: str) -> None:
    """Print the version."""
    if output == "json":
        show_json({"version": __version__, "python": platform.python_version()})
    else:
        click.echo(f"rolecall {__version__}")

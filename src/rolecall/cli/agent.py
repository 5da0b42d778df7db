"""``rolecall agent``: the node agent, with its own flags (those of AWS's agent)."""

from __future__ import annotations

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: tuple[str, ...]) -> int:
    """Run the node agent: `rolecall agent serve --help`."""
    from rolecall.daemons.agent.main import main

    return main(list(arguments))

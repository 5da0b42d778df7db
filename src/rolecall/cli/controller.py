"""``rolecall controller``: AWSIAMRoles become Secrets with credentials, with the flags of kube-aws-iam-controller."""

from __future__ import annotations

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def controller(arguments: tuple[str, ...]) -> int:
    """Keep Secrets with the credentials of AWSIAMRoles: `rolecall controller serve --help`."""
    from rolecall.daemons.controller.main import main

    return main(list(arguments))

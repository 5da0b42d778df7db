"""``rolecall completion``: what a shell needs to complete our words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  source <(rolecall completion bash)
    zsh:   source <(rolecall completion zsh)
    fish:  rolecall completion fish | source
    """
    from rolecall.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None, "the choices are the shells that click knows"
    click.echo(kind(cli, {}, "rolecall", "_ROLECALL_COMPLETE").source())

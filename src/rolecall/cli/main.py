"""``rolecall``: the entry. Commands are imported when they are used, so that each starts quickly."""

from __future__ import annotations

import pkgutil
import sys

import click

from rolecall import __version__
from rolecall.cli.output import plain
from rolecall.edges.foreground import CannotRun
from rolecall.errors import Misconfigured, RolecallError, ServiceError

COMMANDS = {
    "dev": "rolecall.cli.dev:dev",
    "run": "rolecall.cli.run:run",
    "env": "rolecall.cli.env:env",
    "association": "rolecall.cli.association:association",
    "serviceaccount": "rolecall.cli.serviceaccount:serviceaccount",
    "namespace": "rolecall.cli.namespace:namespace",
    "token": "rolecall.cli.token:token",
    "session": "rolecall.cli.session:session",
    "agent": "rolecall.cli.agent:agent",
    "webhook": "rolecall.cli.webhook:webhook",
    "controller": "rolecall.cli.controller:controller",
    "completion": "rolecall.cli.completion:completion",
    "version": "rolecall.cli.version:version",
}


# Where a program's own exit codes are passed through, ours must not look like one of them (docker run, env).
_OWN_FAILURE = {"run": 125}


class Commands(click.Group):
    """The commands, in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one, imported now."""
        place = COMMANDS.get(cmd_name)
        return None if place is None else pkgutil.resolve_name(place)


@click.command(
    "rolecall",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here: `rolecall dev` in one terminal; in another, `rolecall run --help`.",
)
@click.version_option(__version__, "-V", "--version", prog_name="rolecall", message="%(prog)s %(version)s")
def cli() -> None:
    """AWS credentials for every pod, on any Kubernetes, or on this laptop without one."""


def main() -> None:
    """Run the command line and exit: 0 fine, 1 found something, 2 could not run; `run` exits as its program."""
    sys.exit(_main())


def _main() -> int:
    own = _OWN_FAILURE.get(sys.argv[1] if len(sys.argv) > 1 else "", 2)
    try:
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as fault:
        fault.show()
        return own
    except SystemExit as end:
        # with 1 click ends where whoever read our output has gone, with 0 argparse where it has shown its help
        return own if end.code == 1 else int(end.code or 0)
    except CannotRun as fault:
        _report(fault)
        return fault.code
    except RolecallError as fault:
        _report(fault)
        return own
    except OSError as fault:
        _report(Misconfigured(f"{fault.filename or 'reading or writing'}: {fault.strerror or type(fault).__name__}"))
        return own


def _report(fault: RolecallError) -> None:
    """Say what is wrong and what to do, without a trace: it is the person's turn, not a defect."""
    code = f" ({fault.code})" if isinstance(fault, ServiceError) else ""
    click.echo(f"rolecall: {plain(fault.message)}{code}", err=True)
    if fault.hint:
        click.echo(f"  {fault.hint}", err=True)

"""``rolecall agent``: the node agent, with its own flags (those of AWS's agent), and a look into a running one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rolecall.cli.output import output_option, plain, show_fields, show_json, show_table

if TYPE_CHECKING:
    from rolecall.daemons.agent.wire import Entry, SignsWith, Status

DEFAULT_SOCKET = "/run/rolecall/agent.sock"


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: tuple[str, ...]) -> int:
    """Run the node agent, `rolecall agent serve --help`, or look into it: `rolecall agent status --help`."""
    if arguments[:1] == ("status",):
        code = status.main(list(arguments[1:]), prog_name="rolecall agent status", standalone_mode=False)
        return code if isinstance(code, int) else 0
    from rolecall.daemons.agent.main import main

    return main(list(arguments))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--admin-socket",
    metavar="PATH",
    default=DEFAULT_SOCKET,
    show_default=True,
    help="The socket that the agent was given.",
)
@output_option
def status(admin_socket: str, output: str) -> int:
    """Show what the agent of this node holds and how it is; secrets are not shown.

    The entries that need a look come first: those whose last renewal failed, then those that end first.
    Exits with 1 where the agent is not ready, or a part of it is broken.

    \b
    rolecall agent status --admin-socket /run/rolecall/agent.sock
    """
    from rolecall.daemons.agent import wire
    from rolecall.edges.admin_socket import ask_admin

    found = wire.decode(ask_admin(Path(admin_socket), wire.PATH, timeout=10.0))
    if output == "json":
        show_json(found)
    else:
        _show(found)
    return 0 if found.ready and not found.faults else 1


def _show(found: Status) -> None:
    totals = found.totals
    show_fields(
        {
            "Version": f"{plain(found.version)}, up {_length(found.uptime_seconds)}",
            "Ready": "yes" if found.ready else "no",
            "Faults": plain("; ".join(found.faults)),
            "Doors": plain(", ".join(found.doors)),
            "Signs with": plain(_signer(found.signs_with)) if found.signs_with else "",
            "Not bound": plain("; ".join(found.not_bound.values())),
            "Entries": f"{totals.entries} ({_counts(totals.states)})" if totals.entries else "0",
            "Answers": f"{totals.hits} from the cache, {totals.misses} not",
            "Renewals": f"{totals.renewals} ok; failed: {_counts(totals.renewal_failures)}",
            "Upstream": _counts(totals.upstream),
            "Refusals": _counts(totals.refusals),
        }
    )
    click.echo()
    heads = ("NAMESPACE", "SERVICE ACCOUNT", "STATE", "AGE", "ENDS IN", "RENEWAL", "LAST ERROR", "HITS", "PEER")
    show_table(heads, [_row(entry) for entry in found.entries], empty="No credentials are held.")
    if found.entries_not_shown:
        click.echo(f"... and {found.entries_not_shown} more")


def _signer(found: SignsWith) -> str:
    until = f", until {found.expires}" if found.expires else ""
    return f"{found.source}: {found.where}{until}" + (f"; last error: {found.last_error}" if found.last_error else "")


def _row(entry: Entry) -> list[str]:
    renewal = entry.renewal if entry.renews_in_seconds is None else f"in {_length(entry.renews_in_seconds)}"
    cells = [entry.namespace or "-", entry.service_account or "-", entry.state, _length(entry.age_seconds)]
    cells += [_length(entry.ends_in_seconds), renewal, entry.last_error or "-", str(entry.hits), entry.peer or "-"]
    return [plain(cell) for cell in cells]


def _counts(counts: dict[str, int]) -> str:
    return plain(", ".join(f"{number} {name}" for name, number in sorted(counts.items()))) or "none"


def _length(seconds: float) -> str:
    """Return a length of time in its two greatest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"

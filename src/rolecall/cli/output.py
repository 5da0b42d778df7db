"""How results are shown: columns for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

Command = TypeVar("Command", bound=Callable[..., Any])

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Columns for people, or JSON for programs.",
)
state_dir_option = click.option(
    "--state-dir",
    metavar="DIR",
    help="State directory of the plane.  [default: $ROLECALL_STATE_DIR, else below the XDG state home]",
)
cluster_option = click.option(
    "--cluster", "--cluster-name", "cluster", metavar="NAME", help="The cluster; may be left out when there is one."
)


def namespace_option(*, required: bool) -> Callable[[Command], Command]:
    """Return the option ``-n``."""
    return click.option("-n", "--namespace", required=required, metavar="NS", help="Kubernetes namespace.")


def account_option(*, required: bool) -> Callable[[Command], Command]:
    """Return the option ``-s``."""
    return click.option(
        "-s", "--service-account", "account", required=required, metavar="SA", help="Service account name."
    )


def plain(value: Any) -> str:
    """Return a text, or the JSON of anything else, as a terminal may show it.

    Control characters, by which a hostile token or message could command the terminal, are escaped.
    """
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def show_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows under their heads, each column as wide as it must be; `empty` is said where there is none."""
    if not rows:
        click.echo(empty, err=True)
        return
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_fields(fields: Mapping[str, str | None]) -> None:
    """Print names and values, one a line; what has no value is left out."""
    shown = {name: value for name, value in fields.items() if value}
    width = max(map(len, shown), default=0) + 1
    for name, value in shown.items():
        click.echo(f"{name + ':':<{width}}  {value}")

"""``rolecall session``: what a role session of the plane is and carries."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import click

from rolecall.cli.output import output_option, show_fields, show_json, state_dir_option
from rolecall.cli.plane import Plane, with_plane
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.errors import BadInput


@click.group()
def session() -> None:
    """Look into role sessions: whose they are, how long they last, which session tags they carry."""


@session.command()
@click.argument("access_key_id")
@output_option
@state_dir_option
def describe(access_key_id: str, output: str, state_dir: str | None) -> None:
    """Show the session that an access key id (ASIA…) belongs to; its secrets are not shown.

    \b
    rolecall session describe ASIAIOSFODNN7EXAMPLE
    """

    if not access_key_id:
        raise BadInput("the access key id is empty", hint="it looks like ASIA…; programs that hold one know it")

    async def work(plane: Plane) -> wire.Session:
        return await plane.ask("GET", f"/sessions/{quote(access_key_id, safe='')}", wire.Session)

    found = with_plane(state_dir, work)
    if output == "json":
        show_json(found)
        return
    transitive = set(found.transitive_tag_keys)
    tags = {f"Tag {key}": f"{text}{' (transitive)' if key in transitive else ''}" for key, text in found.tags.items()}
    show_fields(
        {
            "Session": found.arn,
            "Issued": f"{datetime.fromtimestamp(found.issued_at, UTC):%Y-%m-%d %H:%M:%S} UTC",
            "Expires": f"{datetime.fromtimestamp(found.expires_at, UTC):%Y-%m-%d %H:%M:%S} UTC",
            "Source identity": found.source_identity,
            **tags,
        }
    )

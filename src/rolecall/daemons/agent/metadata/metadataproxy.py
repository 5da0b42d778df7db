"""``metadataproxy``: the agent in the place of lyft's proxy of this name, told by the same environment variables.

Flags of ``rolecall agent serve`` may follow, and win.
"""

from __future__ import annotations

import sys

from rolecall.daemons.agent.config import command_line, own_environment
from rolecall.daemons.agent.main import serve
from rolecall.daemons.agent.metadata.variables import ignored, words_of
from rolecall.daemons.runner import report
from rolecall.errors import RolecallError

NAME = "metadataproxy"


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; return 0 after a clean stop, 1 where it could not run."""
    environment = own_environment()
    try:
        for variable in ignored(environment):
            sys.stderr.write(f"{NAME}: {variable} changes nothing here: docs/reference/metadataproxy.md\n")
        return serve([*words_of(environment), *command_line(argv)[1]])
    except RolecallError as error:
        report(NAME, error)
        return 1

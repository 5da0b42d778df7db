"""The agent's commands but for the one that serves: those of AWS's agent, under its name and under ours."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rolecall import __version__
from rolecall.daemons.agent.config import command_line

Serve = Callable[[list[str]], int]


def run(argv: list[str] | None, serve: Serve) -> int:
    """Run the command that the arguments name, or the process's own where they are None; serving is left to `serve`.

    Returns the exit code of success; raises `RolecallError` where the command could not be done.
    """
    command, words = command_line(argv)
    match command:
        case "initialize":
            from rolecall.daemons.agent.initialize import initialize_command

            return initialize_command(words)
        case "version":
            sys.stdout.write(f"rolecall agent {__version__}\n")
            return 0
    return serve(words)

"""``eks-pod-identity-agent``: the agent under the name, the command lines and the exit codes of AWS's agent.

Every fault ends with exit code 1 (aws-pod-identity.md §1.1); the commands themselves are the agent's own.
"""

from __future__ import annotations

import sys

from rolecall import __version__
from rolecall.daemons.agent.commands import run
from rolecall.daemons.agent.config import command_line
from rolecall.daemons.agent.main import serve
from rolecall.daemons.runner import report
from rolecall.errors import Misconfigured, RolecallError

NAME = "eks-pod-identity-agent"
_HELP = f"""\
Rolecall's agent, in the place of AWS's agent of this name.

Usage:
  {NAME} server --cluster-name NAME [OPTIONS]
  {NAME} initialize [--remove] [OPTIONS]
  {NAME} version

Each of the first two has --help. What each option does: docs/reference/agent.md
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command of these arguments, or of the process's own; return 0, or 1 where it could not be done."""
    try:
        return _run(argv)
    except RolecallError as error:
        report("Error", error)
        return 1


def _run(argv: list[str] | None) -> int:
    command, words = command_line(argv)
    if command in {"", "help", "-h", "--help"}:
        sys.stdout.write(_HELP)
        return 0
    if command == "version":
        sys.stdout.write(f"EKS Pod Identity Agent version rolecall-{__version__}\n")
        return 0
    if command not in {"server", "serve", "initialize"} and not command.startswith("-"):
        raise Misconfigured(f'unknown command "{command[:80]}" for "{NAME}"', hint=f"see: {NAME} --help")
    return run(words, serve)

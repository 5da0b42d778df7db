"""``kiam``: agent and server under the names and with the flags of kiam's (legacy-proxies.md §4.2)."""

from __future__ import annotations

import sys

from rolecall import __version__
from rolecall.daemons.agent.kiam.config import agent_words, command_line, interception_words
from rolecall.daemons.runner import report
from rolecall.errors import Misconfigured, RolecallError

_HELP = """\
Rolecall's agent and server, in the place of kiam's.

Usage:
  kiam agent  --cert FILE --key FILE --ca FILE --host ADDRESS --server-address HOST:PORT [OPTIONS]
  kiam server --cert FILE --key FILE --ca FILE --role-base-arn ARN [OPTIONS]
  kiam health --cert FILE --key FILE --ca FILE --server-address HOST:PORT [--timeout DURATION]
  kiam version

Each has --help. What each option does: docs/reference/kiam.md
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command of these arguments, or of the process's own; return 0, or 1 where it could not be done."""
    words = command_line(argv)
    try:
        return _run(words[0] if words else "", words[1:])
    except RolecallError as error:
        report("kiam", error)
        return 1


def _run(command: str, words: list[str]) -> int:
    match command:
        case "" | "help" | "-h" | "--help":
            sys.stdout.write(_HELP)
            return 0
        case "version":
            sys.stdout.write(f"kiam rolecall-{__version__}\n")
            return 0
        case "server":
            from rolecall.daemons.agent.kiam.main import serve

            return serve(words)
        case "agent":
            return _agent(words)
        case "health":
            from rolecall.daemons.agent.kiam.health import health

            return health(words)
    raise Misconfigured(f'unknown command "{command[:80]}" for "kiam"', hint="see: kiam --help")


def _agent(words: list[str]) -> int:
    from rolecall.daemons.agent.main import serve

    ours, notes = agent_words(words)
    for note in notes:
        sys.stderr.write(f"kiam agent: ignored {note}\n")
    if rules := interception_words(words):
        from rolecall.daemons.agent.initialize import initialize_command

        initialize_command(rules)
    return serve(ours)

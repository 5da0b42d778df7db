"""``pod-identity-webhook``: the webhook under the name and with the flags of AWS's (aws-pod-identity.md §2.1)."""

from __future__ import annotations

import sys

from rolecall import __version__
from rolecall.daemons.webhook.config import command_line
from rolecall.daemons.webhook.main import main as serve


def main(argv: list[str] | None = None) -> int:
    """Serve with these flags, or the process's own; return 0, or 1 where that could not be done."""
    words = command_line(argv)
    if words and words[0] in {"--version", "version"}:
        sys.stdout.write(f"pod-identity-webhook rolecall-{__version__}\n")
        return 0
    return 1 if serve(["serve", *(words[1:] if words[:1] == ["serve"] else words)]) else 0

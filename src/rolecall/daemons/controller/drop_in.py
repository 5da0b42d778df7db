"""``kube-aws-iam-controller``: the controller under this name, with its flags (legacy-proxies.md §6.2)."""

from __future__ import annotations

import sys

from rolecall import __version__
from rolecall.daemons.controller.config import command_line
from rolecall.daemons.controller.main import main as serve


def main(argv: list[str] | None = None) -> int:
    """Work with these flags, or the process's own; return 0, or 1 where that could not be done."""
    words = command_line(argv)
    if words and words[0] in {"--version", "version"}:
        sys.stdout.write(f"kube-aws-iam-controller rolecall-{__version__}\n")
        return 0
    return 1 if serve(["serve", *(words[1:] if words[:1] == ["serve"] else words)]) else 0

"""Tokens that somebody else keeps in a file, and replaces: they are read each time they are needed."""

from __future__ import annotations

from pathlib import Path

from rolecall.core.secrets import Secret
from rolecall.errors import Misconfigured


def read_token(path: Path, longest: int) -> Secret:
    """Return a token out of a file, without blanks around it; raises `Misconfigured`."""
    try:
        with path.open("rb") as file:
            content = file.read(longest + 1)
    except OSError as error:
        raise Misconfigured(
            f"the token file {path} cannot be read: {error.strerror or 'unknown error'}",
            hint="mount the token, or let this user read it",
        ) from None
    text = content.decode("latin-1").strip()
    if not text or len(content) > longest or not all(" " <= letter <= "~" for letter in text):
        raise Misconfigured(f"the token file {path} holds no token", hint="let somebody write a token to it")
    return Secret(text)
